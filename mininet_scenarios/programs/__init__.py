"""Small programs that labs run inside their hosts. Each stands alone: plain Python, no package imports."""
