// Command mcp is a server of the Model Context Protocol behind the middleware, and a
// client that knows nothing but its URL. The answer to its first request tells the
// client where to ask for a token (RFC 9728), and a tool that needs more rights makes
// it ask for more (RFC 6750, Section 3.1). It plays both and ends.
//
//	go run ./examples/mcp
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := play(ctx, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// play is the story. It returns an error where it is not true.
func play(ctx context.Context, out io.Writer) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s, err := newService("http://" + listener.Addr().String())
	if err != nil {
		return err
	}
	server := &http.Server{Handler: s.handler, ReadHeaderTimeout: 5 * time.Second}
	go server.Serve(listener) // until Close
	defer server.Close()

	resp, err := http.Post(s.endpoint(), "application/json", nil)
	if err != nil {
		return err
	}
	resp.Body.Close()
	fmt.Fprintf(out, "a request without a token is answered with %d and where to learn more: %t\n", resp.StatusCode,
		resp.Header.Get("WWW-Authenticate") == `Bearer resource_metadata="`+s.metadata.URL()+`"`)

	var asked []string // the scopes that the client has asked alice for
	session, err := connect(ctx, s.endpoint(), func(scope string) {
		scopes := strings.Fields(scope) // in no order
		slices.Sort(scopes)
		asked = append(asked, strings.Join(scopes, " "))
	})
	if err != nil {
		return err
	}
	defer session.Close()
	fmt.Fprintf(out, "the client asks alice for %q and connects\n", asked)

	notes, err := call(ctx, session, "read_notes", nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "it reads her notes: %s\n", notes)

	if notes, err = call(ctx, session, "add_note", map[string]any{"text": "buy milk"}); err != nil {
		return err
	}
	fmt.Fprintf(out, "to write one it needs more, asks alice for %q, and is served: %s\n", asked[1:], notes)

	if notes, err = call(ctx, session, "add_note", map[string]any{"text": "drink milk"}); err != nil || len(asked) != 2 {
		return fmt.Errorf("the second note: asked for %q: %w", asked, err)
	}
	fmt.Fprintf(out, "the next one needs nobody: %s\n", notes)
	return nil
}

// clientID is what the issuer knows the client by.
const (
	clientID    = "notes-app"
	redirectURI = "http://127.0.0.1/callback"
)

// connect returns a session of the client of the SDK, which follows the challenges
// by itself. told is called with the scopes that alice is asked for.
func connect(ctx context.Context, endpoint string, told func(scope string)) (*mcp.ClientSession, error) {
	handler, err := auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		PreregisteredClient: &oauthex.ClientCredentials{ClientID: clientID},
		RedirectURL:         redirectURI,
		// A real client opens a browser here, and listens for the redirect.
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			page, err := url.Parse(args.URL)
			if err != nil {
				return nil, err
			}
			told(page.Query().Get("scope"))
			return browse(ctx, args.URL)
		},
	})
	if err != nil {
		return nil, err
	}
	client := mcp.NewClient(&mcp.Implementation{Name: clientID, Version: "1"}, nil)
	return client.Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint: endpoint, OAuthHandler: handler, DisableStandaloneSSE: true,
	}, nil)
}

// browse is alice at her browser: she allows what the page asks for, and the browser
// is sent back to the client with a code.
func browse(ctx context.Context, page string) (*auth.AuthorizationResult, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", page, nil)
	if err != nil {
		return nil, err
	}
	browser := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := browser.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		return nil, fmt.Errorf("the page answers with %d and leads nowhere", resp.StatusCode)
	}
	q := back.Query()
	return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state")}, nil
}

// call calls a tool and returns its text.
func call(ctx context.Context, session *mcp.ClientSession, tool string, arguments map[string]any) (string, error) {
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		return "", err
	}
	if result.IsError || len(result.Content) != 1 {
		return "", errors.New("the tool failed")
	}
	text, ok := result.Content[0].(*mcp.TextContent)
	if !ok {
		return "", errors.New("the tool answers with no text")
	}
	return text.Text, nil
}
