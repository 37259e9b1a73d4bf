"""Functions for the type `task`: each is called with the child."""

import os


def report(child):
    """Write one line, as a periodic job does."""
    load = os.getloadavg()[0]
    child.log.info("report load=%.2f", load)


def primes(child):
    """Compute for a while. `poll` raises Stop when the server ends, so nobody waits for us."""
    found = []
    for number in range(2, 20_000):
        child.poll()
        if all(number % prime for prime in found if prime * prime <= number):
            found.append(number)
    child.log.info("primes found=%d last=%d", len(found), found[-1])
