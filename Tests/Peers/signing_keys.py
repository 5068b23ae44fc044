"""Keys and certificates for tests about publishers' signatures."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class Key:
    """A private key with its two files, `pem` and `public`."""

    def __init__(self, folder, name="key", curve="P-256", passphrase=None):
        self.private = ec.generate_private_key(CURVES.get(curve) or curve)
        self.pem, self.public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
        locked = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        self.pem.write_bytes(
            self.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
        )
        self.public.write_bytes(
            self.private.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )


USAGE = dict.fromkeys(
    (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign "
        "encipher_only decipher_only"
    ).split(),
    False,
)


class Certified(Key):
    """A key with a certificate, `cert`, signed by `issuer` or by itself."""

    def __init__(
        self, folder, name, issuer=None, ca=False, curve="P-256", start=NOW - 2 * DAY, end=NOW + 30 * DAY,
        usage="digital_signature", purposes=(ExtendedKeyUsageOID.CODE_SIGNING,), mail=None,
    ):  # fmt: skip
        super().__init__(folder, name, curve)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(self.private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if ca:
            usage, purposes = "key_cert_sign", ()
        if usage:
            builder = builder.add_extension(x509.KeyUsage(**{**USAGE, usage: True}), critical=True)
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        if mail:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.RFC822Name(mail)]), critical=False)
        self.certificate = builder.sign((issuer or self).private, hashes.SHA384())
        self.cert = folder / f"{name}.crt"
        self.cert.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))


class Authority:
    """A root, an intermediate, and as many signers as are asked for."""

    def __init__(self, folder, name="Acme"):
        self.folder = folder
        self.root = Certified(folder, f"{name} Root", ca=True)
        self.middle = Certified(folder, f"{name} Signing CA", self.root, ca=True)

    def signer(self, name="Acme Models", **options):
        return Certified(self.folder, name, options.pop("issuer", self.middle), **options)
