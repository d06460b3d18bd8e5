"""Health of service providers and of functions: who is to be checked, how a check goes, and what follows from it. No
clock, no sockets: time comes in as seconds, frames go in and out as bytes."""
