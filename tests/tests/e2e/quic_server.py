"""Answers each QUIC stream with as many bytes of a pattern as it asks for: `PORT DATAGRAM_BYTES`."""
import asyncio
import datetime
import hashlib
import sys

from aioquic.asyncio import serve
from aioquic.quic.configuration import QuicConfiguration
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

port, datagram_bytes = int(sys.argv[1]), int(sys.argv[2])


def pattern(length):
    """Bytes without a short period, the same at the client."""
    return hashlib.shake_128(b"quic").digest(length)


def certificate():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "vip.example")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()), key


async def answer(reader, writer):
    length = int(await reader.readline())
    writer.write(pattern(length))
    writer.write_eof()


async def main():
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["pattern"], max_datagram_size=datagram_bytes)
    configuration.certificate, configuration.private_key = certificate()
    await serve("::", port, configuration=configuration, stream_handler=lambda r, w: asyncio.ensure_future(answer(r, w)))
    print("serving", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
