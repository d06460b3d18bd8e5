"""The tables, declared once, and the compiler that fills them."""
