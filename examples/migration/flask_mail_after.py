import os

from flask import Flask

from smtpx.integrations.flask import Mail

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
    message = mail.compose(subject="Hello", to=["bob@example.net"], text="Hello Bob")
    mail.send(message)
