"""Mail: templates in, messages out, and ways to deliver them."""
