import os

import smtpx

url = f"smtp://ann:{os.environ['PASSWORD']}@localhost:{os.environ['PORT']}"
with smtpx.Client(url) as client:
    message = smtpx.compose(
        subject="Hello", sender="Ann <ann@example.org>", to=["bob@example.net"], text="Hello Bob"
    )
    client.send(message)
