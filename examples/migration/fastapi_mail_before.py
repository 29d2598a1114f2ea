import asyncio
import os

from fastapi_mail import ConnectionConfig, FastMail, MessageSchema, MessageType

mail = FastMail(
    ConnectionConfig(
        MAIL_SERVER="localhost",
        MAIL_PORT=int(os.environ["PORT"]),
        MAIL_USERNAME="ann",
        MAIL_PASSWORD=os.environ["PASSWORD"],
        MAIL_FROM="ann@example.org",
        MAIL_FROM_NAME="Ann",
        MAIL_STARTTLS=False,
        MAIL_SSL_TLS=False,
    )
)
message = MessageSchema(
    recipients=["bob@example.net"], subject="Hello", body="Hello Bob", subtype=MessageType.plain
)
asyncio.run(mail.send_message(message))
