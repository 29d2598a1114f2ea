"""What `smtpx.smtplib` is made of besides its classes."""
