import os
import smtplib
from email.message import EmailMessage

message = EmailMessage()
message["From"] = "Ann <ann@example.org>"
message["To"] = "bob@example.net"
message["Subject"] = "Hello"
message.set_content("Hello Bob")

with smtplib.SMTP("localhost", int(os.environ["PORT"])) as server:
    server.login("ann", os.environ["PASSWORD"])
    refused = server.send_message(message)
print(refused)
