"""What ``manage.py`` can do, once the app is installed."""
