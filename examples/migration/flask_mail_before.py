import os

from flask import Flask
from flask_mail import Mail, Message

app = Flask("shop")
app.config.update(
    MAIL_SERVER="localhost",
    MAIL_PORT=int(os.environ["PORT"]),
    MAIL_USERNAME="ann",
    MAIL_PASSWORD=os.environ["PASSWORD"],
    MAIL_DEFAULT_SENDER=("Ann", "ann@example.org"),
)
mail = Mail(app)

with app.app_context():
    message = Message("Hello", recipients=["bob@example.net"], body="Hello Bob")
    mail.send(message)
