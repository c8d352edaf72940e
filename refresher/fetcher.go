package refresher

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// A Fetcher is a Source: a URL of the caller's own back end that mints tokens
// for its users. It is sent a POST with {"email": ...} or {"userId": ...}, as the
// user was named to Identify, and answers with the token: as the text itself, as
// a JSON string, or in a member of a JSON object.
//
// A status other than 2xx is a TokenGenerationError with that Status, unless the
// answer has a reason for which the user must log in again. A web page is a
// TokenGenerationError too. An empty answer, null and an object without the member
// are a TokenNull.
type Fetcher struct {
	// URL is called. It is https, unless Config.InsecureAllowHTTP is set.
	URL string

	// Member is where in an object the token is. Dots lead to a member of a
	// member. Empty means "token".
	Member string

	// Authorization returns what the header Authorization is to say, for
	// example "Bearer " and the token of the app. Nil means no such header.
	Authorization func(context.Context) (string, error)

	// OnSuccess and OnFailure are told of each token, as those of an
	// AuthResponse are.
	OnSuccess func()
	OnFailure func(jwterrors.Reason)

	endpoint *endpoint // set by New
}

// Refresh gets a token for the user of current. Outside of a Transport it uses
// http.DefaultTransport.
func (f Fetcher) Refresh(ctx context.Context, current Tokens) (Tokens, error) {
	return AuthHandler(f.fetch).Refresh(ctx, current)
}

// fetch is an AuthHandler.
func (f Fetcher) fetch(ctx context.Context, id Identity) (AuthResponse, error) {
	if f.endpoint == nil {
		if _, err := f.bind(nil, false); err != nil {
			return AuthResponse{}, err
		}
		f.endpoint = standalone()
	}
	header := http.Header{}
	if f.Authorization != nil {
		value, err := f.Authorization(ctx)
		if err != nil {
			return AuthResponse{}, err
		}
		header.Set("Authorization", value)
	}
	body := map[string]string{}
	for name, value := range map[string]string{"email": id.Email, "userId": id.UserID} {
		if value != "" {
			body[name] = value
		}
	}
	data, err := f.endpoint.call(ctx, "fetch a token", f.URL, body, header)
	var said *jwterrors.Error
	if errors.As(err, &said) && said.Reason.Action() != jwterrors.ActionLogin {
		said.Reason = jwterrors.TokenGenerationError
	}
	if err == nil && isPage(data) { // of a captive portal, which is no fault of a token
		err = &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: fmt.Errorf("refresher: fetch a token: %w", errPage)}
	}
	if err != nil {
		return AuthResponse{}, err
	}
	return AuthResponse{f.token(data), f.OnSuccess, f.OnFailure}, nil
}

// token returns the token in an answer. What is not one is found out later.
func (f Fetcher) token(data []byte) string {
	switch data = bytes.TrimSpace(data); {
	case bytes.HasPrefix(data, []byte("{")):
		member, _ := find(data, f.member())
		return text(member)
	case bytes.HasPrefix(data, []byte(`"`)):
		return text(data)
	case string(data) == "null":
		return ""
	}
	return string(data)
}

func (f Fetcher) member() string { return cmp.Or(f.Member, "token") }

// bind returns the Source that makes its calls with p.
func (f Fetcher) bind(p *endpoint, allowHTTP bool) (Source, error) {
	var mistakes []error
	if err := checkEndpoint(f.URL, allowHTTP); err != nil {
		mistakes = append(mistakes, fmt.Errorf("URL %q: %w", shown(f.URL), err))
	}
	if slices.Contains(strings.Split(f.member(), "."), "") {
		mistakes = append(mistakes, fmt.Errorf("the name %q has a dot that leads nowhere", f.Member))
	}
	if p != nil && p.prover != nil { // it has a session of its own, if any
		without := *p
		without.prover = nil
		p = &without
	}
	f.endpoint = p
	return f, errors.Join(mistakes...)
}
