package redisstore

import (
	"bytes"
	"testing"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
)

func FuzzDenial(f *testing.F) {
	until := time.Date(2030, 1, 2, 3, 4, 5, 6000, time.UTC)
	for _, d := range []denial{
		{kindSession, "c2Vzc2lvbiBvZiBhbGljZQ", time.Time{}, until}, {kindToken, "a b", time.Time{}, until}, {kindSubject, " alice\n", until, until},
	} {
		f.Add(d.String())
	}
	for _, text := range []string{"", "   ", "sid 1 2", "sid 1 2 ", "sid x 2 id", "sid 1 -9223372036854775808 id", "sid 99999999999999999999 1 id"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDenial(text)
		if err != nil {
			if (d != denial{}) {
				t.Errorf("parseDenial(%q) = %v and an error", text, d)
			}
			return
		}
		if again, err := parseDenial(d.String()); err != nil || again != d {
			t.Errorf("parseDenial(%q) = %v, and that is %v, %v", text, d, again, err)
		}
	})
}

// What decode makes of any field is written and read again as it is.
func FuzzSession(f *testing.F) {
	f.Add("alice", []byte("seed"), "a b", []byte(`{"a":1}`), int64(1), int64(2), uint64(3))
	f.Add(string(bytes.Repeat([]byte("x"), 2049)), bytes.Repeat([]byte("s"), 64), "", bytes.Repeat([]byte("c"), 65), int64(-1), int64(0), uint64(1)<<63)
	f.Fuzz(func(t *testing.T, text string, seed []byte, agent string, claims []byte, expires, idle int64, generation uint64) {
		v := issuer.Session{
			ID: "id", Subject: text, Seed: seed, UserAgent: agent, Claims: claims, Generation: generation, KeyID: text,
			ExpiresAt: time.UnixMicro(expires).UTC(), IdleUntil: time.UnixMicro(idle).UTC(), RetryHash: seed, Confirmation: agent,
		}
		fields := map[string]string{}
		all := encode(&v)
		for n := 0; n < len(all); n += 2 {
			name := all[n].(string)
			if _, twice := fields[name]; twice {
				t.Fatalf("there are two fields %q", name)
			}
			fields[name] = all[n+1].(string)
		}
		got, begun, err := decode("id", fields)
		if err != nil || begun {
			t.Fatalf("decode: %v, %v", begun, err)
		}
		if got.Subject != v.Subject || !bytes.Equal(got.Seed, v.Seed) || got.UserAgent != v.UserAgent || !bytes.Equal(got.Claims, v.Claims) ||
			got.Generation != v.Generation || got.KeyID != v.KeyID || !got.ExpiresAt.Equal(v.ExpiresAt) || !got.IdleUntil.Equal(v.IdleUntil) ||
			!bytes.Equal(got.RetryHash, v.RetryHash) || got.Confirmation != v.Confirmation {
			t.Errorf("%#v is read as %#v", v, got)
		}
	})
}
