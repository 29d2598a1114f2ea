"""What Django notes of the models; the tables are the outbox's own."""

from __future__ import annotations

from django.db import migrations, models

_STATES = ("waiting", "sending", "accepted", "refused", "in doubt", "expired", "cancelled")


class Migration(migrations.Migration):
    """Makes no tables."""

    initial = True
    dependencies = []  # noqa: RUF012 - as Django reads it
    operations = [  # noqa: RUF012 - as above
        migrations.CreateModel(
            "Content",
            [
                ("digest", models.BinaryField(primary_key=True, serialize=False)),
                ("octets", models.BinaryField(null=True)),
            ],
            options={"db_table": "smtpx_content", "managed": False, "default_permissions": ()},
        ),
        migrations.CreateModel(
            "Delivery",
            [
                ("number", models.BigIntegerField(primary_key=True, serialize=False)),
                ("recipient", models.TextField()),
                ("state", models.TextField(choices=[(state, state) for state in _STATES])),
                ("doubted", models.IntegerField()),
                ("attempts", models.IntegerField()),
                ("due", models.FloatField()),
                ("expires", models.FloatField()),
                ("changed", models.FloatField()),
                ("reply", models.TextField(null=True)),
                ("reason", models.TextField()),
                ("host", models.TextField()),
            ],
            options={
                "verbose_name": "delivery",
                "verbose_name_plural": "outbox",
                "db_table": "smtpx_delivery",
                "managed": False,
                "default_permissions": ("view", "change"),
            },
        ),
        migrations.CreateModel(
            "Message",
            [
                ("id", models.TextField(primary_key=True, serialize=False)),
                ("key", models.TextField(null=True)),
                ("campaign", models.TextField()),
                ("sender", models.TextField()),
                ("message_id", models.TextField()),
                ("octets", models.BinaryField(null=True)),
                ("template", models.IntegerField()),
                ("created", models.FloatField()),
            ],
            options={"db_table": "smtpx_message", "managed": False, "default_permissions": ()},
        ),
    ]
