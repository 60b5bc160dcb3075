"""What comes of it: tables, plots and a contact sheet."""
