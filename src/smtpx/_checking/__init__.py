"""What `smtpx.check` looks at, and how it is mended."""
