package refresher_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// A day is a service and the machine of its only user. The machine sleeps: then
// its timers stand still, and its wall clock goes on, as that of the service.
type day struct {
	slept atomic.Int64 // how long, in nanoseconds

	mu         sync.Mutex
	random     *rand.Rand
	generation int       // of the tokens: that of the refresh token that is good
	issued     time.Time // when the newest access token was
	key        int       // that tokens are signed with now; others are refused
	signed     int       // with which the newest access token is
	refusedNew bool      // the newest access token was refused

	down map[string]outage // by host

	// What went wrong, and how often what happened.
	mistakes           []string
	refreshes, refused int
	failedRefreshes    int
}

type outage struct{ from, to time.Time }

func (o outage) at(t time.Time) bool { return !t.Before(o.from) && t.Before(o.to) }

const (
	dayTTL    = 15 * time.Minute
	dayWindow = time.Minute
	issuerAt  = "id.example.com"
	apiAt     = "api.example.com"
)

func (d *day) now() time.Time { return time.Now().Round(0).Add(time.Duration(d.slept.Load())) }

func (d *day) mistake(format string, args ...any) {
	d.mistakes = append(d.mistakes, fmt.Sprintf("%s: ", d.now().Format(time.TimeOnly))+fmt.Sprintf(format, args...))
}

func (d *day) RoundTrip(r *http.Request) (*http.Response, error) {
	d.mu.Lock()
	there, back := d.latency(), d.latency()
	d.mu.Unlock()
	time.Sleep(there)
	status, body, err := d.serve(r)
	time.Sleep(back)
	if err != nil {
		return nil, err
	}
	header := http.Header{"Content-Type": {"application/json"}, "Date": {d.now().UTC().Format(http.TimeFormat)}}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func (d *day) latency() time.Duration {
	return 10*time.Millisecond + time.Duration(d.random.IntN(100))*time.Millisecond
}

func (d *day) serve(r *http.Request) (status int, body string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	if d.down[r.URL.Hostname()].at(now) {
		if r.URL.Path == "/auth/refresh" {
			d.failedRefreshes++
		}
		return 0, "", errUnplugged
	}
	switch r.URL.Path {
	case "/auth/login":
		return 200, d.tokens(now), nil
	case "/auth/refresh":
		var sent struct {
			RefreshToken string `json:"refresh_token"`
		}
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil || sent.RefreshToken != fmt.Sprintf("refresh-%d", d.generation) {
			d.mistake("%q was presented when the good one was of generation %d", sent.RefreshToken, d.generation)
			return 401, `{"reason":"AUTH_REFRESH_TOKEN_REUSED"}`, nil
		}
		// The client counts from when it asked, which is a little earlier.
		if age := now.Sub(d.issued); age < dayTTL-dayWindow-time.Second && !d.refusedNew {
			d.mistake("a refresh of generation %d, which is %v old and was never refused", d.generation, age)
		}
		d.refreshes++
		return 200, d.tokens(now), nil
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	var generation, key int
	var expiry int64
	if _, err := fmt.Sscanf(token, "opaque-%d-%d-%d", &generation, &key, &expiry); err != nil {
		d.mistake("a call without a token of ours")
	}
	if key == d.key && now.Unix() < expiry {
		return 200, "{}", nil
	}
	d.refused++
	if key == d.key {
		d.mistake("an expired token was sent")
	}
	if generation == d.generation {
		d.refusedNew = true
	}
	return 401, `{"reason":"AUTH_TOKEN_SIGNATURE_INVALID"}`, nil
}

// tokens returns the next pair.
func (d *day) tokens(now time.Time) string {
	d.generation++
	d.issued, d.signed, d.refusedNew = now, d.key, false
	return fmt.Sprintf(`{"access_token":"opaque-%d-%d-%d","expires_in":%d,"refresh_token":"refresh-%d","refresh_expires_in":2592000}`,
		d.generation, d.key, now.Add(dayTTL).Unix(), int(dayTTL.Seconds()), d.generation)
}

// servable reports whether the newest token, which the client has, is good for a
// while at now.
func (d *day) servable(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.signed == d.key && now.Before(d.issued.Add(dayTTL-time.Minute))
}

// A day in the life of a client: 24 hours, tokens of 15 minutes, 10,000 requests
// at random times, some at once; three times the machine sleeps for one to three
// hours; the server changes its key, so that good tokens are refused; for some
// minutes the issuer is away, and for some the whole network. There is exactly
// one refresh for each token that had to be replaced, and no request is lost that
// could have been served. AX-07, AX-19, NV-11, IT-20, JG-21
func TestADayInTheLife(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { liveADay(t, seed) })
		})
	}
}

func liveADay(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 6))
	d := &day{random: rand.New(rand.NewPCG(seed, 7)), down: map[string]outage{}}
	var ended atomic.Int64
	tr := newTransport(t, refresher.Config{
		AuthURL: "https://" + issuerAt + "/auth", Origins: []string{"https://" + apiAt}, Base: d, Now: d.now, NoJitter: true,
		OnSessionExpired: func(*jwterrors.Error) { ended.Add(1) },
	})
	require.NoError(t, tr.Login(t.Context(), alice))
	start := d.now()
	within := func(from, to time.Duration) time.Duration { return from + time.Duration(random.Int64N(int64(to-from))) }

	// When what happens. The network is away in the first half of the day, when
	// nobody sleeps, and the issuer in the second, just when a token is due.
	network := start.Add(within(time.Hour, 5*time.Hour))
	d.down[issuerAt] = outage{network, network.Add(within(2*time.Minute, 8*time.Minute))}
	d.down[apiAt] = d.down[issuerAt]
	sleeps := []outage{}
	for _, hour := range []int{6, 10, 20} {
		from := start.Add(time.Duration(hour)*time.Hour + within(0, 30*time.Minute))
		sleeps = append(sleeps, outage{from, from.Add(within(time.Hour, 3*time.Hour))})
	}
	rotation := start.Add(within(14*time.Hour, 16*time.Hour))
	away := start.Add(within(17*time.Hour, 18*time.Hour))
	var requests []time.Time
	for len(requests) < 10_000 {
		at := start.Add(within(0, 24*time.Hour))
		if slices.ContainsFunc(sleeps, func(o outage) bool { return o.at(at) }) {
			continue
		}
		requests = append(requests, at)
		for random.IntN(5) == 0 && len(requests) < 10_000 { // several at once
			requests = append(requests, at)
		}
	}
	slices.SortFunc(requests, time.Time.Compare)

	var served, lost, excused atomic.Int64
	var wg sync.WaitGroup
	client := tr.Client() // which waits for a minute
	issuerAway := outage{}
	for _, at := range requests {
		if len(sleeps) > 0 && !at.Before(sleeps[0].to) {
			time.Sleep(sleeps[0].from.Sub(d.now()))
			d.slept.Add(int64(sleeps[0].to.Sub(sleeps[0].from)))
			sleeps = sleeps[1:]
		}
		time.Sleep(at.Sub(d.now()))
		d.mu.Lock()
		if d.key == 0 && !at.Before(rotation) {
			d.key = 1
		}
		if issuerAway.from.IsZero() && !at.Before(away) && at.Sub(d.issued) > dayTTL-dayWindow-10*time.Second {
			issuerAway = outage{at, at.Add(within(90*time.Second, 4*time.Minute))}
			d.down[issuerAt], d.down[apiAt] = issuerAway, outage{}
		}
		both, issuer := d.down[apiAt], d.down[issuerAt]
		d.mu.Unlock()
		good := d.servable(at)
		wg.Go(func() {
			status, err := get(context.Background(), client, "https://"+apiAt+"/things")
			if err == nil && status == 200 {
				served.Add(1)
				return
			}
			// It may fail while the API is away, and while the issuer is and the
			// token is used up: until the next attempt, a minute at the most.
			const patience = time.Minute + time.Second
			switch from, to := issuer.from.Add(-time.Second), issuer.to.Add(patience); {
			case both.at(at), both.at(d.now()), !good && at.After(from) && at.Before(to):
				excused.Add(1)
			default:
				lost.Add(1)
				t.Errorf("lost at %v: status %d, %v", at.Sub(start), status, err)
			}
		})
	}
	wg.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	assert.Empty(t, d.mistakes)
	assert.Zero(t, lost.Load())
	assert.EqualValues(t, 10_000, served.Load()+excused.Load())
	assert.Less(t, excused.Load(), int64(400))
	assert.NotZero(t, issuerAway.from, "the issuer was away when a token was due")
	assert.Positive(t, d.failedRefreshes)
	assert.Less(t, d.failedRefreshes, 30, "nobody hammers")
	assert.Positive(t, d.refused, "the new key was noticed")
	assert.Zero(t, ended.Load())
	awake := 24*time.Hour - time.Duration(d.slept.Load())
	t.Logf("%d served, %d not; %d refreshes in %v awake, %d failed, %d refusals",
		served.Load(), excused.Load(), d.refreshes, awake.Round(time.Minute), d.failedRefreshes, d.refused)
	assert.InDelta(t, awake/(dayTTL-dayWindow), d.refreshes, 6)
}
