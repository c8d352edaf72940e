package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/story"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/refresher"
)

func login(ctx context.Context, s *story.Story, w *world) {
	s.Begin("Alice logs in, with a key that her client has made")
	s.Must(w.owner.Login(ctx, refresher.Credentials{Username: user, Password: password}))
	tokens, _ := w.owner.Tokens()
	s.Tell(tokens.TokenType == "DPoP", "The tokens are bound to it: their type is %s.", tokens.TokenType)
	var claims struct {
		Confirmation struct {
			JKT string `json:"jkt"`
		} `json:"cnf"`
	}
	s.Must(tokens.UnverifiedClaims(&claims))
	s.Tell(claims.Confirmation.JKT == w.key.Thumbprint(), `The access token says "cnf":{"jkt":"%s"}, which is her key's thumbprint.`, w.key.Thumbprint())
	status, body, err := ask(ctx, w.owner.Client(), w.server.url+"/api/orders")
	s.Must(err)
	s.Tell(status == 200, "The API answers %d: %s.", status, body)
	s.Tell(w.server.captured().Header.Get("DPoP") != "", "With the request went a proof that she has the key, for this request alone.")
}

func accessToken(ctx context.Context, s *story.Story, w *world) {
	s.Begin("Somebody steals the access token")
	tokens, _ := w.owner.Tokens()
	proof, err := refresher.GenerateDPoPKey().Proof(http.MethodGet, w.server.url+"/api/orders", tokens.AccessToken, "")
	s.Must(err)
	s.Tell(true, "The answers tell the reason, and the log of the API the cause.")
	for _, c := range []struct{ how, scheme, proof string }{
		{"As a bearer token", "Bearer", ""},
		{"As what it is, without a proof", "DPoP", ""},
		{"With a proof by a key of the thief", "DPoP", proof},
	} {
		reason, err := w.try(ctx, http.DefaultClient, c.scheme, tokens.AccessToken, c.proof)
		s.Must(err)
		s.Tell(reason == jwterrors.ProofInvalid || c.proof != "" && reason == jwterrors.ProofNonceRequired, "%s: %s, since %s.", c.how, reason, w.server.cause())
	}
	thief := &http.Client{Transport: refresher.GenerateDPoPKey().Transport(nil)}
	reason, err := w.try(ctx, thief, "DPoP", tokens.AccessToken, "")
	s.Must(err)
	s.Tell(reason == jwterrors.ProofInvalid, "And with the nonce that the API has asked for: %s, since %s.", reason, w.server.cause())
}

func request(ctx context.Context, s *story.Story, w *world) {
	s.Begin("Somebody sees a whole request, with its proof")
	_, _, err := ask(ctx, w.owner.Client(), w.server.url+"/api/orders")
	s.Must(err)
	seen := w.server.captured()
	for _, c := range []struct{ what, method, path string }{
		{"The same once more", http.MethodGet, "/api/orders"},
		{"Another path", http.MethodGet, "/api/cards"},
		{"Another method", http.MethodDelete, "/api/orders"},
	} {
		r := seen.Clone(ctx)
		r.RequestURI, r.Method = "", c.method
		if r.URL, err = url.Parse(w.server.url + c.path); err != nil {
			s.Must(err)
			return
		}
		reason, err := send(http.DefaultClient, r)
		s.Must(err)
		s.Tell(reason == jwterrors.ProofInvalid, "%s: %s, since %s.", c.what, reason, w.server.cause())
	}
}

func refreshToken(ctx context.Context, s *story.Story, w *world) {
	s.Begin("Somebody steals the refresh token")
	tokens, _ := w.owner.Tokens()
	for _, c := range []struct {
		how    string
		client *http.Client
	}{
		{"Without a key", http.DefaultClient},
		{"With a key of the thief", &http.Client{Transport: refresher.GenerateDPoPKey().Transport(nil)}},
	} {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.server.url+"/auth/refresh", strings.NewReader(`{"refresh_token":"`+tokens.RefreshToken+`"}`))
		if err != nil {
			s.Must(err)
			return
		}
		r.Header.Set("Content-Type", "application/json")
		reason, err := send(c.client, r)
		s.Must(err)
		s.Tell(reason == jwterrors.ProofInvalid, "%s: %s.", c.how, reason)
	}
	sid := strings.Split(tokens.RefreshToken, ".")[2]
	s.Tell(w.server.told(issuer.EventProofRefused, sid) == 2, "The operator is told whose token it is: twice %s for alice's session.", issuer.EventProofRefused)
}

func owner(ctx context.Context, s *story.Story, w *world) {
	s.Begin("Alice has noticed nothing")
	before, _ := w.owner.Tokens()
	s.Must(w.owner.Refresh(ctx))
	after, _ := w.owner.Tokens()
	s.Tell(after.RefreshToken != before.RefreshToken && after.TokenType == "DPoP", "Her session goes on: both tokens are new, and bound.")
	status, body, err := ask(ctx, w.owner.Client(), w.server.url+"/api/orders")
	s.Must(err)
	s.Tell(status == 200, "The API answers %d: %s.", status, body)
}

// ask returns the status and the body of an answer.
func ask(ctx context.Context, client *http.Client, url string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// try asks the API with a token, and a proof if there is one, and returns the reason
// of the refusal.
func (w *world) try(ctx context.Context, client *http.Client, scheme, token, proof string) (jwterrors.Reason, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.server.url+"/api/orders", nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("Authorization", scheme+" "+token)
	if proof != "" {
		r.Header.Set("DPoP", proof)
	}
	return send(client, r)
}

// send returns the reason for which r is refused.
func send(client *http.Client, r *http.Request) (jwterrors.Reason, error) {
	resp, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	e := jwterrors.FromResponse(resp)
	if e == nil {
		return "", errors.New("the thief gets " + resp.Status)
	}
	return e.Reason, nil
}
