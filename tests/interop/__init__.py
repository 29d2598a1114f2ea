"""Interop: smtpx against mail servers from the operating system's packages."""
