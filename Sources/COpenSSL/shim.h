// OpenSSL's libcrypto, wrapped once by Trust. The functions below are macros there.
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
static inline long skerry_bio_data(BIO *b, char **p) { return BIO_get_mem_data(b, p); }
static inline EVP_PKEY *skerry_ec_p256_generate(void) { return EVP_EC_gen("P-256"); }
