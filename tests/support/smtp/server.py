"""An SMTP server for the tests: takes mails of one login over TLS or STARTTLS, and writes each as a JSON line.

    server.py MODE PORT CERTIFICATE KEY OUTPUT      MODE is starttls, tls, plain or refuse

Recipients that begin with "nobody" are refused for good, those that begin with "later" for now.
"""

import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

MODE, PORT, CERTIFICATE, KEY, OUTPUT = sys.argv[1:6]
LOGIN = LoginPassword(b"backup", b"c0rrect-horse")


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("later"):
            return "451 4.7.1 greylisted, come again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        with open(OUTPUT, "a", encoding="utf-8") as output:
            output.write(json.dumps({
                "from": envelope.mail_from,
                "to": envelope.rcpt_tos,
                "content": envelope.content.decode("utf-8", "replace"),
                "tls": session.ssl is not None or MODE == "tls",
                "login": bool(session.authenticated),
            }) + "\n")
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=data == LOGIN, handled=False)


async def main():
    context = None
    if MODE != "plain":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE, KEY)
    options = {"authenticator": authenticate, "hostname": "mail.test"}
    if MODE == "starttls":
        options |= {"tls_context": context, "require_starttls": True, "auth_required": True}
    elif MODE == "tls":
        options |= {"auth_required": True, "auth_require_tls": False}
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(Handler(), **options), "127.0.0.1", int(PORT), ssl=context if MODE == "tls" else None)
    async with server:
        await server.serve_forever()


asyncio.run(main())
