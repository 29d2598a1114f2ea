import os

import yagmail

mail = yagmail.SMTP(
    {"ann@example.org": "Ann"},
    os.environ["PASSWORD"],
    host="localhost",
    port=int(os.environ["PORT"]),
    smtp_starttls=False,
    smtp_ssl=False,
)
mail.send("bob@example.net", "Hello", "Hello Bob")
mail.close()
