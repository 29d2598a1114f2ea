"""Django's mail by smtpx (`smtpx[django]`): a pool a process, and a result for every recipient.

::

    EMAIL_BACKEND = "smtpx.integrations.django.EmailBackend"  # 5.2
    MAILERS = {"default": {"BACKEND": "smtpx.integrations.django.EmailBackend", "OPTIONS": {…}}}

``"smtpx.integrations.django"`` in ``INSTALLED_APPS`` adds the system checks. See docs/django.md.
"""

from __future__ import annotations

from smtpx.errors import ExtraMissing

try:
    import django as django
except ImportError as error:
    raise ExtraMissing("django", "Django", "smtpx.integrations.django") from error

from smtpx.integrations.django._backend import EmailBackend
from smtpx.integrations.django._signals import mail_in_doubt, mail_partial, mail_refused

__all__ = ["EmailBackend", "mail_in_doubt", "mail_partial", "mail_refused"]
