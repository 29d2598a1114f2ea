import os

import smtpx

message = smtpx.compose(
    sender="Ann <ann@example.org>", to="bob@example.net", subject="Hello", text="Hello Bob"
)
with smtpx.Client(f"smtp://ann:{os.environ['PASSWORD']}@localhost:{os.environ['PORT']}") as client:
    result = client.send(message)
print(result.refused)
