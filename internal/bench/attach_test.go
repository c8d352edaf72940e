package bench_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/httptransport"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// An attacher adds a bearer token that is good for an hour to every request, and
// sends it to base.
type attacher struct {
	name  string
	build func(tb testing.TB, token string, base http.RoundTripper) roundTrip
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// attachers are all that is compared. Those with "pipeline" in their name send a
// request through azcore's pipeline of policies, which does much more than
// attaching; the difference between the two is its bearer token policy.
func attachers() []attacher {
	return []attacher{
		{"floor", attachFloor},
		{"floor-clone", attachClone},
		{"tokenloop", attachTokenloop},
		{"oauth2", attachOAuth2},
		{"cloud-auth", attachCloudAuth},
		{"azcore-pipeline", func(tb testing.TB, _ string, base http.RoundTripper) roundTrip { return pipeline(tb, base) }},
		{"azcore-pipeline-bearer", attachAzcore},
	}
}

// A snapshot is what a request needs to know of the token.
type snapshot struct {
	header  []string
	expires time.Time
}

// attachFloor is about the least that a correct transport has to do: it must
// not change the request, nor share a map with it that the base may write to.
func attachFloor(_ testing.TB, token string, base http.RoundTripper) roundTrip {
	var state atomic.Pointer[snapshot]
	state.Store(&snapshot{[]string{"Bearer " + token}, time.Now().Add(time.Hour)})
	return func(r *http.Request) (*http.Response, error) {
		s := state.Load()
		if !time.Now().Before(s.expires) {
			return nil, errExpired
		}
		with := new(*r)
		with.Header = make(http.Header, len(r.Header)+1)
		for name, values := range r.Header {
			with.Header[name] = values[:len(values):len(values)]
		}
		with.Header["Authorization"] = s.header[:1:1]
		return base.RoundTrip(with)
	}
}

// attachClone is the floor with http.Request.Clone.
func attachClone(_ testing.TB, token string, base http.RoundTripper) roundTrip {
	var state atomic.Pointer[snapshot]
	state.Store(&snapshot{[]string{"Bearer " + token}, time.Now().Add(time.Hour)})
	return func(r *http.Request) (*http.Response, error) {
		s := state.Load()
		if !time.Now().Before(s.expires) {
			return nil, errExpired
		}
		with := r.Clone(r.Context())
		with.Header["Authorization"] = s.header[:1:1]
		return base.RoundTrip(with)
	}
}

var errExpired = errors.New("expired")

func attachOAuth2(_ testing.TB, token string, base http.RoundTripper) roundTrip {
	first := &oauth2.Token{AccessToken: token, TokenType: "Bearer", Expiry: time.Now().Add(time.Hour)}
	source := oauth2.ReuseTokenSource(first, oauth2.StaticTokenSource(first))
	return (&oauth2.Transport{Source: source, Base: base}).RoundTrip
}

func attachCloudAuth(tb testing.TB, token string, base http.RoundTripper) roundTrip {
	credentials := auth.NewCredentials(&auth.CredentialsOptions{
		TokenProvider: auth.NewCachedTokenProvider(googleToken{token, time.Now().Add(time.Hour)}, nil),
	})
	client := &http.Client{Transport: base}
	require.NoError(tb, httptransport.AddAuthorizationMiddleware(client, credentials))
	return client.Transport.RoundTrip
}

type googleToken struct {
	token   string
	expires time.Time
}

func (g googleToken) Token(context.Context) (*auth.Token, error) {
	return &auth.Token{Value: g.token, Type: "Bearer", Expiry: g.expires}, nil
}

func attachAzcore(tb testing.TB, token string, base http.RoundTripper) roundTrip {
	credential := azureToken{token, time.Now().Add(time.Hour)}
	return pipeline(tb, base, runtime.NewBearerTokenPolicy(credential, []string{scope}, nil))
}

// pipeline returns azcore's pipeline, with the fewest policies that it can have.
// It writes to the header of the request that it is given, so it gets a copy of
// the request, as its callers make a new one each time.
func pipeline(_ testing.TB, base http.RoundTripper, policies ...policy.Policy) roundTrip {
	all := runtime.NewPipeline("bench", "v1.0.0", runtime.PipelineOptions{PerRetry: policies}, &policy.ClientOptions{
		Transport: azureTransport{base},
		Telemetry: policy.TelemetryOptions{Disabled: true},
		Retry:     policy.RetryOptions{MaxRetries: -1},
	})
	return func(r *http.Request) (*http.Response, error) {
		with := new(*r)
		with.Header = make(http.Header, len(r.Header)+1)
		for name, values := range r.Header {
			with.Header[name] = values
		}
		request, err := runtime.NewRequestFromRequest(with)
		if err != nil {
			return nil, err
		}
		return all.Do(request)
	}
}

type azureToken struct {
	token   string
	expires time.Time
}

func (a azureToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: a.token, ExpiresOn: a.expires}, nil
}

// azureTransport sends with base, and gives every request a response of its own,
// since the pipeline writes to it.
type azureTransport struct{ base http.RoundTripper }

func (a azureTransport) Do(r *http.Request) (*http.Response, error) {
	response, err := a.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	return new(*response), nil
}

// nowhere answers every request with the same response, which nobody may write
// to.
//
//go:noinline
func nowhere() http.RoundTripper {
	response := &http.Response{StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody}
	return roundTrip(func(*http.Request) (*http.Response, error) { return response, nil })
}

// outgoing returns a request as a client makes it.
func outgoing() *http.Request {
	r := must(http.NewRequest("GET", "https://api.example.com/orders", nil))
	r.Header = http.Header{"Accept": {"application/json"}, "User-Agent": {"bench"}}
	return r
}

// accessToken is the one that is attached.
func accessToken() string { return keys["ES256"]().token(goodClaims().payload(0)) }

// BenchmarkAttach is a request that goes through a transport whose token is
// good, to a base that does nothing.
func BenchmarkAttach(b *testing.B) {
	token := accessToken()
	b.Run("mode=serial", func(b *testing.B) {
		for _, a := range attachers() {
			b.Run("impl="+a.name, func(b *testing.B) {
				send, r := a.build(b, token, nowhere()), outgoing()
				b.ReportAllocs()
				for b.Loop() {
					if response, err := send(r); err != nil || response.StatusCode != 200 {
						b.Fatal(err)
					}
				}
			})
		}
	})
	b.Run("mode=parallel", func(b *testing.B) {
		for _, a := range attachers() {
			b.Run("impl="+a.name, func(b *testing.B) {
				send := a.build(b, token, nowhere())
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					r := outgoing()
					for pb.Next() {
						if response, err := send(r); err != nil || response.StatusCode != 200 {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	})
}

// Everybody sends the token, and nobody changes the caller's request.
func TestEverybodyAttaches(t *testing.T) {
	token := accessToken()
	for _, a := range attachers() {
		t.Run(a.name, func(t *testing.T) {
			var sent []string
			send := a.build(t, token, roundTrip(func(r *http.Request) (*http.Response, error) {
				sent = append(sent, r.Header.Get("Authorization"))
				assert.Equal(t, "application/json", r.Header.Get("Accept"))
				return nowhere().RoundTrip(r)
			}))
			r := outgoing()
			for range 2 {
				_, err := send(r)
				require.NoError(t, err)
			}
			want := "Bearer " + token
			if a.name == "azcore-pipeline" {
				want = ""
			}
			assert.Equal(t, []string{want, want}, sent)
			assert.Equal(t, outgoing().Header, r.Header)
		})
	}
}
