"""Ask a server over so many connections, each again and again; print requests per second and p99.

python load.py URL BODY_FILE CONNECTIONS SECONDS
"""

import asyncio
import json
import sys
from time import perf_counter
from urllib.parse import urlparse


async def ask(host: str, port: int, content: bytes, until: float, took: list[float]) -> None:
    """Send the same request over one connection until then, and note how long each took."""
    reader, writer = await asyncio.open_connection(host, port)
    while (start := perf_counter()) < until:
        writer.write(content)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        )
        await reader.readexactly(length)
        if b" 200 " not in head[:16]:
            raise ValueError(head.decode())
        took.append(perf_counter() - start)
    writer.close()


async def load(url: str, body: bytes, connections: int, seconds: float) -> dict[str, float]:
    """Ask over so many connections at once."""
    place, took = urlparse(url), list[float]()
    lines = f"POST {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\n"
    lines += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    content, host, port = lines.encode() + body, str(place.hostname), int(place.port or 80)
    until = perf_counter() + seconds
    asked = [ask(host, port, content, until, took) for _ in range(connections)]
    await asyncio.gather(*asked)
    took.sort()
    each = {"requests": len(took) / seconds, "p50": took[len(took) // 2] * 1000}
    return each | {"p99": took[int(len(took) * 0.99)] * 1000}


if __name__ == "__main__":
    _, address, file, count, duration = sys.argv
    with open(file, "rb") as stream:
        told = asyncio.run(load(address, stream.read(), int(count), float(duration)))
    sys.stdout.write(json.dumps(told))
