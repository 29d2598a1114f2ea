import os

import django
from django.conf import settings

settings.configure(
    EMAIL_BACKEND="smtpx.integrations.django.EmailBackend",
    EMAIL_HOST="localhost",
    EMAIL_PORT=int(os.environ["PORT"]),
    EMAIL_HOST_USER="ann",
    EMAIL_HOST_PASSWORD=os.environ["PASSWORD"],
)
django.setup()

from django.core.mail import send_mail  # noqa: E402 - after the settings

print(send_mail("Hello", "Hello Bob", "Ann <ann@example.org>", ["bob@example.net"]))
