import os

import smtpx

url = f"smtp://ann%40example.org:{os.environ['PASSWORD']}@localhost:{os.environ['PORT']}"
with smtpx.Client(url) as client:
    message = smtpx.compose(
        sender="Ann <ann@example.org>", to="bob@example.net", subject="Hello", text="Hello Bob"
    )
    client.send(message)
