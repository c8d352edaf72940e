package issuer

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
)

// metadataPath is where the metadata are (RFC 8414, Section 3): below Prefix, and
// at the root of the host, in front of the path of Config.Issuer.
const metadataPath = "/.well-known/oauth-authorization-server"

// metadata is the document and its entity tag.
type metadata struct {
	body []byte
	tag  string
}

// newMetadata makes the metadata of c (RFC 8414, Section 2): what is mounted, and
// no more.
func newMetadata(c *Config, o *oauth, keys bool) *metadata {
	responses := []string{} // required, also where there is none
	doc := map[string]any{
		"issuer":                                c.Issuer,
		"token_endpoint":                        o.public + "/token",
		"grant_types_supported":                 c.Grants,
		"token_endpoint_auth_methods_supported": o.authMethods,
	}
	if keys {
		doc["jwks_uri"] = o.public + "/.well-known/jwks.json"
	}
	if slices.Contains(c.Grants, GrantAuthorizationCode) {
		responses = append(responses, "code")
		doc["authorization_endpoint"] = c.AuthorizationEndpoint
		doc["code_challenge_methods_supported"] = []string{"S256"}
	}
	doc["response_types_supported"] = responses
	if len(c.ScopesSupported) > 0 {
		doc["scopes_supported"] = c.ScopesSupported
	}
	if c.Revocation {
		doc["revocation_endpoint"] = o.public + "/revoke"
		doc["revocation_endpoint_auth_methods_supported"] = o.authMethods
	}
	if c.Introspection {
		doc["introspection_endpoint"] = o.public + "/introspect"
		doc["introspection_endpoint_auth_methods_supported"] = []string{"client_secret_basic", "client_secret_post"}
	}
	if c.DPoP != nil {
		doc["dpop_signing_alg_values_supported"] = c.DPoP.algorithms() // RFC 9449, Section 5.1
	}
	if slices.ContainsFunc(c.Clients, func(k Client) bool { return k.CertificateBound }) || c.LookupClient != nil && c.ClientCertificate != nil {
		doc["tls_client_certificate_bound_access_tokens"] = true // RFC 8705, Section 3.3
	}
	if c.StatusList != nil {
		doc["status_list_aggregation_endpoint"] = o.public + statusAggregationPath
	}
	body, _ := json.Marshal(doc) // strings always marshal
	return newDocument(body)
}

// newDocument returns a document with its entity tag.
func newDocument(body []byte) *metadata {
	sum := sha256.Sum256(body)
	return &metadata{body, `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
}

// metadata answers the metadata with their validators. There is a "jwks_uri" where
// there is a public key.
func (i *Issuer) metadata(w http.ResponseWriter, r *http.Request) error {
	d := i.oauth.withoutKeys
	if i.c.Keys.publishes() {
		d = i.oauth.withKeys
	}
	return cacheable(w, r, "application/json", i.c.Keys.maxAge, d.body, d.tag)
}

// publishes reports whether the JWK Set holds a key.
func (r *KeyRing) publishes() bool { return len(r.JWKS()) > len(`{"keys":[]}`) }
