package loopback

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/tokenloop/tokenloop/middleware"
)

// What a service says to try works as it stands there.
func TestWhatToTryWorks(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("TOKENLOOP_TEST_REQUIRE") != "" {
			t.Fatal(err)
		}
		t.Skip("needs curl")
	}
	issuer, err := startIssuer()
	if err != nil {
		t.Fatal(err)
	}
	auth, err := middleware.New(middleware.Config{
		Keys:   middleware.JWKS(issuer+"/.well-known/jwks.json", middleware.JWKSOptions{InsecureAllowHTTP: true}),
		Issuer: issuer, Audience: []string{audience},
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /orders/{id}", auth.Handler(middleware.RequireScopes("api:read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := middleware.FromContext(r.Context())
		_, _ = io.WriteString(w, "order "+r.PathValue("id")+" of "+claims.Subject)
	}))))

	ctx, cancel := context.WithCancel(t.Context())
	said, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- serve(ctx, once{out}, "127.0.0.1:0", issuer, mux)
	}()
	text, err := io.ReadAll(said)
	if err != nil {
		t.Fatal(err)
	}
	first, rest, _ := strings.Cut(string(text), "\n")
	second, commands, _ := strings.Cut(rest, "\n")
	if !strings.HasPrefix(first, "listening on http://127.0.0.1:") || !strings.HasPrefix(second, "Ctrl-C stops it.") {
		t.Errorf("it says %q", text)
	}
	answer, err := exec.CommandContext(ctx, "sh", "-c", commands).Output()
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") || !strings.HasSuffix(string(answer), "order 7 of alice") {
		t.Errorf("%v: %s", err, answer)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// once ends what is written with the first piece of it.
type once struct{ *io.PipeWriter }

func (w once) Write(p []byte) (int, error) {
	n, err := w.PipeWriter.Write(p)
	_ = w.Close() // there is nothing after it
	return n, err
}

func TestAPortInUseIsSaidWithWhatToDo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = serve(t.Context(), io.Discard, taken.Addr().String(), "", nil)
	if err == nil || !strings.HasSuffix(err.Error(), ": -addr 127.0.0.1:0 takes a port that is free") {
		t.Error(err)
	}
}
