"""What ties smtpx to the frameworks of others: a module for each."""
