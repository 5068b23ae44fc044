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
#include <openssl/x509_vfy.h>
static inline EVP_PKEY *skerry_ec_generate(const char *curve) { return EVP_EC_gen(curve); }

// Stacks are macros: the certificates that help to build a chain.
static inline STACK_OF(X509) *skerry_certificates_new(void) { return sk_X509_new_null(); }
static inline int skerry_certificates_push(STACK_OF(X509) *all, X509 *one) { return sk_X509_push(all, one); }
static inline void skerry_certificates_free(STACK_OF(X509) *all) { sk_X509_free(all); }

// The e-mail address, host name or URI at this place among a certificate's alternative names. Returns its length and
// its bytes, which the caller frees; 0 for a name of another kind, -1 after the last one.
static inline int skerry_alternative_name(X509 *certificate, int at, unsigned char **text) {
  GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
  int length = -1;
  if (names != NULL && at < sk_GENERAL_NAME_num(names)) {
    int kind = 0;
    ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, at), &kind);
    length = 0;
    if (kind == GEN_EMAIL || kind == GEN_DNS || kind == GEN_URI) {
      length = ASN1_STRING_to_UTF8(text, value);
      if (length < 0) length = 0;
    }
  }
  GENERAL_NAMES_free(names);
  return length;
}

// One digest without a context of its own on the heap: a tree of millions of hashes is made of these. libcrypto marks the
// functions as deprecated in favour of EVP, which costs several times as much for a hundred bytes.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdeprecated-declarations"
static inline void skerry_sha256(unsigned char prefix, const void *first, size_t first_length, const void *second,
                                 size_t second_length, unsigned char *digest) {
  SHA256_CTX context;
  SHA256_Init(&context);
  SHA256_Update(&context, &prefix, 1);
  SHA256_Update(&context, first, first_length);
  SHA256_Update(&context, second, second_length);
  SHA256_Final(digest, &context);
}
#pragma clang diagnostic pop

static inline int skerry_error_reason(unsigned long code) { return ERR_GET_REASON(code); }
static inline int skerry_print_name(BIO *out, const X509_NAME *name) {
  return X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
}
