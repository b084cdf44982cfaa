"""Downloads a pattern over QUIC and compares every byte: `VIP PORT BYTES DATAGRAM_BYTES`."""
import asyncio
import hashlib
import ssl
import sys

from aioquic.asyncio import connect
from aioquic.quic.configuration import QuicConfiguration

vip, port, length, datagram_bytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])


async def main():
    configuration = QuicConfiguration(alpn_protocols=["pattern"], max_datagram_size=datagram_bytes)
    configuration.verify_mode = ssl.CERT_NONE
    async with connect(vip, port, configuration=configuration) as client:
        reader, writer = await client.create_stream()
        writer.write(f"{length}\n".encode())
        writer.write_eof()
        received = await asyncio.wait_for(reader.read(), 40)
    if received != hashlib.shake_128(b"quic").digest(length):
        raise SystemExit(f"{len(received)} bytes came, or other ones")


asyncio.run(main())
