package refresher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// ClientAuth is how a client authenticates at a token endpoint (RFC 6749,
// Section 2.3.1). A client without a secret only names itself.
type ClientAuth int

// AuthBasic sends the client's id and secret in the header Authorization,
// AuthPost in the body.
const (
	AuthBasic ClientAuth = iota
	AuthPost
)

// OAuth is a Source: the token endpoint of an OAuth 2.0 server, which exchanges
// refresh tokens (RFC 6749, Section 6). The first tokens come from elsewhere: see
// Transport.SetTokens. No form of it shows the secret.
type OAuth struct {
	// TokenURL is the token endpoint. It is https, unless
	// Config.InsecureAllowHTTP is set.
	TokenURL string

	// RevokeURL is the revocation endpoint (RFC 7009), which Logout tells of the
	// refresh token or, where there is none, the access token, in the place of
	// Config.LogoutPath. Empty means that the server is not told.
	RevokeURL string

	// ClientID names the client, and ClientSecret, which public clients have
	// not, proves it. Auth is how the secret is sent.
	ClientID     string
	ClientSecret string
	Auth         ClientAuth

	// Scopes are asked for. Empty leaves them to the server: a refresh then grants
	// those of before (RFC 6749, Section 6).
	Scopes []string

	// Parameters are sent beside those of the grant: "resource" (RFC 8707) or
	// "audience", for example.
	Parameters url.Values

	endpoint *endpoint // set by New
}

// ClientCredentials is a Source: the token endpoint of an OAuth 2.0 server, which
// gives tokens to the client itself, for no user (RFC 6749, Section 4.4). There
// is no refresh token: it asks again. It needs no login, see Config.Unattended.
// The fields are those of OAuth, and the secret is hidden like there.
type ClientCredentials OAuth

// Refresh exchanges the refresh token of current. Outside of a Transport it uses
// http.DefaultTransport.
func (o OAuth) Refresh(ctx context.Context, current Tokens) (Tokens, error) {
	if current.RefreshToken == "" {
		return Tokens{}, &jwterrors.Error{Reason: jwterrors.RefreshTokenMissing, Err: errNoRefreshToken}
	}
	header := http.Header{}
	if current.RetryKey != "" {
		header.Set("Idempotency-Key", current.RetryKey)
	}
	return o.grant(ctx, "refresh", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {current.RefreshToken}}, header)
}

// Refresh gets a new token, whatever the current one is. Outside of a Transport
// it uses http.DefaultTransport.
func (c ClientCredentials) Refresh(ctx context.Context, _ Tokens) (Tokens, error) {
	tokens, err := OAuth(c).grant(ctx, "get a token", url.Values{"grant_type": {"client_credentials"}}, http.Header{})
	var said *jwterrors.Error
	if errors.As(err, &said) && said.Reason.Action() == jwterrors.ActionLogin { // there is nobody who could
		paused := *said
		paused.Reason, paused.Err = jwterrors.Paused, fmt.Errorf("%w (%w)", said.Err, said.Reason)
		err = &paused
	}
	return tokens, err
}

// grant sends form, with what identifies the client, to the token endpoint.
func (o OAuth) grant(ctx context.Context, what string, form url.Values, header http.Header) (Tokens, error) {
	if o.endpoint == nil {
		if _, err := o.bind(nil, false); err != nil {
			return Tokens{}, err
		}
		o.endpoint = standalone()
	}
	for name, values := range o.Parameters {
		form[name] = values
	}
	if len(o.Scopes) > 0 {
		form.Set("scope", strings.Join(o.Scopes, " "))
	}
	started := o.endpoint.now().Round(0)
	data, err := o.post(ctx, what, o.TokenURL, form, header)
	if err != nil {
		return Tokens{}, err
	}
	return o.endpoint.received(what, data, started)
}

// revoke tells the server that a token is not used any more.
func (o OAuth) revoke(ctx context.Context, token, hint string) ([]byte, error) {
	return o.post(ctx, "log out", o.RevokeURL, url.Values{"token": {token}, "token_type_hint": {hint}}, http.Header{})
}

// post sends form, with what identifies the client.
func (o OAuth) post(ctx context.Context, what, to string, form url.Values, header http.Header) ([]byte, error) {
	switch {
	case o.ClientSecret == "" && o.ClientID == "":
	case o.ClientSecret == "":
		form.Set("client_id", o.ClientID)
	case o.Auth == AuthPost:
		form.Set("client_id", o.ClientID)
		form.Set("client_secret", o.ClientSecret)
	default:
		pair := &http.Request{Header: header}
		pair.SetBasicAuth(url.QueryEscape(o.ClientID), url.QueryEscape(o.ClientSecret))
	}
	return o.endpoint.send(ctx, what, to, "application/x-www-form-urlencoded", []byte(form.Encode()), header)
}

// A revoker revokes a token of the kind that hint says, and returns the body of
// the answer.
type revoker func(ctx context.Context, token, hint string) ([]byte, error)

// unattended says that nobody has to log in. See Config.Unattended.
func (ClientCredentials) unattended() {}

// bind returns the Source that makes its calls with p.
func (o OAuth) bind(p *endpoint, allowHTTP bool) (Source, error) {
	var mistakes []error
	for name, to := range map[string]string{"TokenURL": o.TokenURL, "RevokeURL": o.RevokeURL} {
		if err := checkEndpoint(to, allowHTTP); err != nil && (to != "" || name == "TokenURL") {
			mistakes = append(mistakes, fmt.Errorf("%s %q: %w", name, shown(to), err))
		}
	}
	if o.ClientID == "" && o.ClientSecret != "" {
		mistakes = append(mistakes, errors.New("there is a ClientSecret without a ClientID"))
	}
	if o.Auth != AuthBasic && o.Auth != AuthPost {
		mistakes = append(mistakes, errors.New("its Auth is neither AuthBasic nor AuthPost"))
	}
	for _, name := range []string{"grant_type", "refresh_token", "client_id", "client_secret", "scope"} {
		if o.Parameters.Has(name) {
			mistakes = append(mistakes, fmt.Errorf("its Parameters have %q, which is set by other means", name))
		}
	}
	o.endpoint = p
	return o, errors.Join(mistakes...)
}

// revocation returns the revocation endpoint, and what speaks with it.
func (o OAuth) revocation() (string, revoker) { return o.RevokeURL, o.revoke }

func (c ClientCredentials) revocation() (string, revoker) { return OAuth(c).revocation() }

func (c ClientCredentials) bind(p *endpoint, allowHTTP bool) (Source, error) {
	o := OAuth(c)
	_, err := o.bind(p, allowHTTP)
	if c.ClientID == "" {
		err = errors.Join(err, errors.New("there is no ClientID"))
	}
	c.endpoint = p
	return c, err
}

func (o OAuth) text() string {
	return fmt.Sprintf("OAuth{%q, client %q}", shown(o.TokenURL), o.ClientID)
}

// Format writes one line without the secret, for every verb and flag.
func (o OAuth) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, o.text()) }

// LogValue returns what Format writes.
func (o OAuth) LogValue() slog.Value { return slog.StringValue(o.text()) }

// MarshalJSON returns what Format writes.
func (o OAuth) MarshalJSON() ([]byte, error) { return json.Marshal(o.text()) }

func (c ClientCredentials) text() string {
	return "ClientCredentials" + strings.TrimPrefix(OAuth(c).text(), "OAuth")
}

// Format writes one line without the secret, for every verb and flag.
func (c ClientCredentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.text()) }

// LogValue returns what Format writes.
func (c ClientCredentials) LogValue() slog.Value { return slog.StringValue(c.text()) }

// MarshalJSON returns what Format writes.
func (c ClientCredentials) MarshalJSON() ([]byte, error) { return json.Marshal(c.text()) }
