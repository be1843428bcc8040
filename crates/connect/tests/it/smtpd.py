"""A mail server for tests: aiosmtpd with TLS and sign-in. Says its port, then one JSON object for each letter."""
import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

mode, certificate, key = sys.argv[1:4]


class Keep:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 no such mailbox"
        if address.startswith("later@"):
            return "451 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        letter = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "content": envelope.content.decode(),
            "tls": session.ssl is not None or mode == "tls",
            "user": session.auth_data,
        }
        print(json.dumps(letter), flush=True)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    good = data.login == b"stanch" and data.password == b"hunter2 with words"
    # Not handled: the server itself says that it was refused.
    return AuthResult(success=good, handled=False, auth_data=data.login.decode() if good else None)


async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    options = {"authenticator": authenticate}
    if mode == "starttls":
        options.update(tls_context=context, require_starttls=True, auth_required=True)
    elif mode == "tls":
        options.update(auth_required=True, auth_require_tls=False)
    listening = await asyncio.get_running_loop().create_server(
        lambda: SMTP(Keep(), **options), "127.0.0.1", 0, ssl=context if mode == "tls" else None
    )
    print(listening.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
