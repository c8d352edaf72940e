package issuer_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/MicahParks/keyfunc/v3"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

// A remoteSigner is a crypto.Signer whose private key stays in a key management
// service, which it asks over HTTP for each signature. Sign has no context, so
// the signer has its own time limit: the longest that a login or a refresh waits
// for its signature. It cannot end with the request that it is made for; it
// ends with the signer, when ctx does.
type remoteSigner struct {
	ctx     context.Context // of the process
	url     string
	public  crypto.PublicKey // fetched once, when the process begins
	timeout time.Duration    // of one signature
	client  *http.Client
}

func (s *remoteSigner) Public() crypto.PublicKey { return s.public }

// Sign sends a digest, never what was signed.
func (s *remoteSigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.SHA256 {
		return nil, fmt.Errorf("the KMS signs SHA-256, not %v", opts.HashFunc())
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.timeout)
	defer cancel()
	body, err := json.Marshal(map[string][]byte{"digest": digest})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, "POST", s.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the KMS answers %s", resp.Status)
	}
	var answer struct{ Signature []byte }
	if err := json.NewDecoder(io.LimitReader(resp.Body, 16<<10)).Decode(&answer); err != nil {
		return nil, errors.New("the KMS answers something else than a signature")
	}
	return answer.Signature, nil
}

// newKMS is a key management service with one key: ECDSA signatures are ASN.1,
// as those services make them, and RSA ones PKCS #1 v1.5.
func newKMS(key crypto.Signer, answer func(w http.ResponseWriter, r *http.Request, signature []byte)) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Digest []byte }
		if json.NewDecoder(r.Body).Decode(&body) != nil || len(body.Digest) != 32 {
			http.Error(w, "no digest", http.StatusBadRequest)
			return
		}
		signature, err := key.Sign(rand.Reader, body.Digest, crypto.SHA256)
		if err != nil {
			http.Error(w, "no signature", http.StatusInternalServerError)
			return
		}
		answer(w, r, signature)
	}))
}

func answerSignature(w http.ResponseWriter, _ *http.Request, signature []byte) {
	_ = json.NewEncoder(w).Encode(map[string][]byte{"signature": signature}) // a client that left needs no answer
}

// A key in a KMS signs over the network; errors of it are answered with
// AUTH_TOKEN_GENERATION_ERROR.
func ExampleNewKey_kms() {
	private, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // inside the KMS
	kms := newKMS(private, answerSignature)
	defer kms.Close()

	key, err := issuer.NewKey(&remoteSigner{
		ctx: context.Background(), url: kms.URL, public: private.Public(), timeout: 2 * time.Second, client: kms.Client(),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	config := exampleConfig()
	config.Keys, err = issuer.NewKeyRing(issuer.KeyRingConfig{Key: key})
	if err != nil {
		fmt.Println(err)
		return
	}
	iss, err := issuer.New(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	status, tokens := post(iss, "/auth/login", exampleLogin)
	token, err := jwt.Parse(tokens["access_token"].(string), func(*jwt.Token) (any, error) { return private.Public(), nil })
	fmt.Println(status, token.Method.Alg(), token.Valid, err)
	kms.Close()
	status, refused := post(iss, "/auth/login", exampleLogin)
	fmt.Println(status, refused["reason"])
	// Output:
	// 200 ES256 true <nil>
	// 500 AUTH_TOKEN_GENERATION_ERROR
}

func TestAKeyInAKMS(t *testing.T) { // IT-02
	hang := make(chan struct{})
	defer close(hang)
	for name, private := range map[string]crypto.Signer{
		issuer.ES256: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), issuer.RS256: must(rsa.GenerateKey(rand.Reader, 2048)),
	} {
		t.Run(name, func(t *testing.T) {
			var answer atomic.Value
			answer.Store(answerSignature)
			server := newKMS(private, func(w http.ResponseWriter, r *http.Request, signature []byte) {
				answer.Load().(func(http.ResponseWriter, *http.Request, []byte))(w, r, signature)
			})
			defer server.Close()
			signer := &remoteSigner{ctx: t.Context(), url: server.URL, public: private.Public(), timeout: 5 * time.Second, client: server.Client()}
			key := must(issuer.NewKey(signer))
			f := newFixture(t, func(c *issuer.Config) { c.Keys = must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: key})) })
			login := f.login()
			for range 50 { // numbers of ECDSA have leading zeros now and then
				access := f.login().str("access_token")
				signature := must(base64.RawURLEncoding.DecodeString(strings.Split(access, ".")[2]))
				assert.Len(t, signature, map[string]int{issuer.ES256: 64, issuer.RS256: 256}[name])
				_, err := jwt.Parse(access, must(keyfunc.NewJWKSetJSON(f.issuer.JWKS())).Keyfunc, jwt.WithValidMethods([]string{name}))
				require.NoError(t, err)
			}

			id := sid(t, login)
			for trouble, bad := range map[string]func(http.ResponseWriter, *http.Request, []byte){
				"an error": func(w http.ResponseWriter, _ *http.Request, _ []byte) {
					http.Error(w, "throttled", http.StatusTooManyRequests)
				},
				"no JSON": func(w http.ResponseWriter, _ *http.Request, _ []byte) { _, _ = io.WriteString(w, "<html>") },
				"nothing": func(w http.ResponseWriter, r *http.Request, _ []byte) { answerSignature(w, r, nil) },
				"a signature cut short": func(w http.ResponseWriter, r *http.Request, s []byte) {
					answerSignature(w, r, s[:len(s)-1])
				},
				"a signature that is too long": func(w http.ResponseWriter, r *http.Request, s []byte) { answerSignature(w, r, append(s, 0)) },
				"a signature of another input": func(w http.ResponseWriter, r *http.Request, _ []byte) {
					answerSignature(w, r, must(private.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)))
				},
				"a cut connection": func(http.ResponseWriter, *http.Request, []byte) { panic(http.ErrAbortHandler) },
				"no answer": func(_ http.ResponseWriter, r *http.Request, _ []byte) {
					select {
					case <-hang:
					case <-r.Context().Done():
					}
				},
			} {
				answer.Store(bad)
				if signer.timeout = 5 * time.Second; trouble == "no answer" {
					signer.timeout = 50 * time.Millisecond
				}
				before := must(f.store.Get(t.Context(), id))
				for _, r := range []reply{
					f.refresh(login.str("refresh_token")),
					f.do("POST", "/auth/login", fmt.Sprintf(`{"username":"alice","password":%q}`, password)),
				} {
					assert.Equal(t, 500, r.status, trouble)
					assert.Equal(t, jwterrors.TokenGenerationError, r.reason, trouble)
					assert.NotContains(t, r.text, "KMS", "the cause is for the log")
				}
				assert.Equal(t, before, must(f.store.Get(t.Context(), id)), "the session has not moved")
			}
			assert.Contains(t, f.logs.String(), key.ID(), "the log names the key")
			assert.Contains(t, f.logs.String(), "429 Too Many Requests")
			assert.Contains(t, f.logs.String(), "deadline exceeded")

			answer.Store(answerSignature)
			signer.timeout = 5 * time.Second
			assert.Equal(t, 200, f.refresh(login.str("refresh_token")).status, "nobody lost a session")
		})
	}
}
