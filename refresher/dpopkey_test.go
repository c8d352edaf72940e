package refresher_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/internal/dpop"
	"github.com/tokenloop/tokenloop/refresher"
)

// A device is a crypto.Signer whose key is not in the memory of the process.
type device struct {
	crypto.Signer
	err error
}

func (d device) Sign(random io.Reader, digest []byte, options crypto.SignerOpts) ([]byte, error) {
	if d.err != nil {
		return nil, d.err
	}
	return d.Signer.Sign(random, digest, options)
}

// RFC 9449, Section 4.2: a proof says what it is for, with the public key and nothing
// private in it, and each has an id of its own.
func TestAProofSaysWhatItIsFor(t *testing.T) {
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	p256 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	for name, c := range map[string]struct {
		signer crypto.Signer
		alg    string
	}{
		"ECDSA": {p256, "ES256"}, "Ed25519": {edwards, "EdDSA"}, "RSA": {must(rsa.GenerateKey(rand.Reader, 2048)), "RS256"}, "a device": {device{p256, nil}, "ES256"},
	} {
		t.Run(name, func(t *testing.T) {
			key := must(refresher.NewDPoPKey(c.signer))
			const token = "the-access-token"
			proof := must(key.Proof("POST", "https://api.example.com/orders?page=2#top", token, "the nonce"))
			p := must(dpop.Read(proof, dpop.Algorithms))
			assert.Equal(t, key.Thumbprint(), p.Thumbprint)
			assert.Equal(t, "POST", p.Method)
			assert.Equal(t, "https://api.example.com/orders", p.URL)
			hash := sha256.Sum256([]byte(token))
			assert.Equal(t, base64.RawURLEncoding.EncodeToString(hash[:]), p.TokenHash)
			assert.Equal(t, "the nonce", p.Nonce)
			assert.WithinDuration(t, time.Now(), p.IssuedAt, 2*time.Second)
			again := must(dpop.Read(must(key.Proof("", "https://api.example.com/orders", "", "")), dpop.Algorithms))
			assert.NotEqual(t, p.ID, again.ID)
			assert.GreaterOrEqual(t, len(p.ID), 20, "of 96 bits at least")
			assert.Equal(t, []string{"GET", "", ""}, []string{again.Method, again.TokenHash, again.Nonce})

			header, _, _ := strings.Cut(proof, ".")
			var h struct {
				Typ, Alg string
				JWK      map[string]any
			}
			require.NoError(t, json.Unmarshal(must(base64.RawURLEncoding.DecodeString(header)), &h))
			assert.Equal(t, []string{"dpop+jwt", c.alg}, []string{h.Typ, h.Alg})
			for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
				assert.NotContains(t, h.JWK, private)
			}
		})
	}
}

func TestAKeyThatCannotMakeProofsIsRefused(t *testing.T) {
	for name, signer := range map[string]crypto.Signer{
		"none": nil, "P-384": must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)), "a short RSA key": must(rsa.GenerateKey(rand.Reader, 1024)),
	} {
		_, err := refresher.NewDPoPKey(signer)
		assert.ErrorContains(t, err, "refresher: a DPoP key: ", name)
	}
	_, err := refresher.New(refresher.Config{Origins: []string{"https://api.example.com"}, Push: true, DPoP: &refresher.DPoPKey{}})
	assert.ErrorContains(t, err, "DPoP is no key")
	key := must(refresher.NewDPoPKey(device{must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), errors.New("out of reach")}))
	_, err = key.Proof("GET", "https://api.example.com/", "", "")
	assert.ErrorContains(t, err, "out of reach")
}

func TestAKeyFileIsMadeOnceAndReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app", "dpop.pem")
	thumbprints := make([]string, 50)
	crowd(len(thumbprints), func(i int) bool {
		thumbprints[i] = must(refresher.LoadDPoPKey(path)).Thumbprint()
		return true
	})
	for _, thumbprint := range thumbprints {
		assert.Equal(t, thumbprints[0], thumbprint)
	}
	data := must(os.ReadFile(path))
	assert.Equal(t, thumbprints[0], must(refresher.LoadDPoPKey(path)).Thumbprint())
	assert.Equal(t, data, must(os.ReadFile(path)))
	assert.True(t, bytes.HasPrefix(data, []byte("-----BEGIN PRIVATE KEY-----\n")))
	block, _ := pem.Decode(data)
	assert.IsType(t, &ecdsa.PrivateKey{}, must(x509.ParsePKCS8PrivateKey(block.Bytes)))
}

// A key that another program has made is as good.
func TestAKeyFileOfAnotherKind(t *testing.T) {
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	path := keyFile(t, pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(edwards))))
	assert.Equal(t, must(refresher.NewDPoPKey(edwards)).Thumbprint(), must(refresher.LoadDPoPKey(path)).Thumbprint())
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func keyFile(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app", "dpop.pem")
	require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

func TestAKeyFileThatCannotBeUsedIsNotReplaced(t *testing.T) {
	p256 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	good := pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(p256)))
	const pemWanted, noDPoP = "it is not one private key in PEM", "refresher: a DPoP key: "
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":                {[]byte{}, pemWanted},
		"text":                 {[]byte("not a key, but canary"), pemWanted},
		"cut short":            {good[:len(good)/2], pemWanted},
		"two keys":             {append(good[:len(good):len(good)], good...), pemWanted},
		"a public key":         {pemOf("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(&p256.PublicKey))), pemWanted},
		"SEC 1":                {pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(p256))), pemWanted},
		"garbage in PEM":       {pemOf("PRIVATE KEY", []byte("canary")), "it is not in PKCS #8"},
		"one that cannot sign": {pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(must(ecdh.X25519().GenerateKey(rand.Reader))))), "it is a key that cannot sign"},
		"another curve":        {pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))))), noDPoP},
	} {
		t.Run(name, func(t *testing.T) {
			path := keyFile(t, c.data)
			_, err := refresher.LoadDPoPKey(path)
			require.ErrorContains(t, err, c.want)
			assert.Equal(t, c.want != noDPoP, strings.Contains(err.Error(), path), "the error names the file")
			assert.NotContains(t, err.Error(), "canary")
			assert.Equal(t, c.data, append([]byte{}, must(os.ReadFile(path))...))
		})
	}
	_, err := refresher.LoadDPoPKey("")
	assert.Error(t, err)
}

// The error is the one of the file, not of the key that is not in it.
func TestAKeyFileThatCannotBeReadOrMade(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "app", "dpop.pem")
	require.NoError(t, os.MkdirAll(directory, 0o700))
	require.NoError(t, os.Chmod(filepath.Dir(directory), 0o700))
	_, err := refresher.LoadDPoPKey(directory)
	assert.ErrorContains(t, err, "is a symbolic link or no file")

	nowhere := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink("gone", nowhere))
	_, err = refresher.LoadDPoPKey(filepath.Join(nowhere, "app", "dpop.pem"))
	assert.ErrorContains(t, err, "make the directory")
}

// No form of a key shows what is private, and every one shows which key it is.
func TestPrintingAKeyShowsNothingPrivate(t *testing.T) {
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	key := must(refresher.NewDPoPKey(private))
	secret := must(private.Bytes())
	decimal := fmt.Sprint(secret[:8]) // as %v shows bytes
	tr := newTransport(t, refresher.Config{Origins: []string{"https://api.example.com"}, Push: true, DPoP: key})
	for _, value := range []any{key, *key, &key, refresher.Config{DPoP: key}, tr, key.Transport(nil), struct{ Any any }{key}} {
		var log bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&log, verb+"\n", value)
		}
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "value", value)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "value", value)
		shown := log.String()
		for _, form := range []string{fmt.Sprintf("%x", secret), base64.RawURLEncoding.EncodeToString(secret), new(big.Int).SetBytes(secret).String(), strings.Trim(decimal, "[]")} {
			assert.NotContains(t, shown, form, "%T", value)
		}
	}
	assert.Equal(t, "refresher.DPoPKey("+key.Thumbprint()+")", fmt.Sprintf("%+v", key))
	assert.Equal(t, "refresher.DPoPKey(nil)", fmt.Sprint((*refresher.DPoPKey)(nil)))
}

func TestEightProcessesMakeOneKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app", "dpop.pem")
	var mu sync.Mutex
	seen := map[string]int{}
	workers := make([]*worker, 8)
	for i := range workers {
		workers[i] = newWorker(t, "key", path, 0)
		require.Equal(t, "ready", workers[i].said())
	}
	crowd(len(workers), func(i int) bool {
		_, err := io.WriteString(workers[i].in, "go\n")
		line := workers[i].said()
		mu.Lock()
		defer mu.Unlock()
		seen[line]++
		return err == nil
	})
	for _, w := range workers {
		assert.NoError(t, w.Wait())
	}
	assert.Equal(t, map[string]int{must(refresher.LoadDPoPKey(path)).Thumbprint(): 8}, seen)
}
