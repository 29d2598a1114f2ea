import os

from redmail import EmailSender

mail = EmailSender(
    host="localhost",
    port=int(os.environ["PORT"]),
    username="ann",
    password=os.environ["PASSWORD"],
    use_starttls=False,
)
mail.send(
    subject="Hello",
    sender="Ann <ann@example.org>",
    receivers=["bob@example.net"],
    text="Hello Bob",
)
