// The caller of a request, as the gateway established it.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

type Caller struct {
	Tenant     string   `json:"tenant"`
	SourceType string   `json:"source_type"`
	Roles      []string `json:"roles"`
	Scope      string   `json:"scope"`
	jwt.RegisteredClaims
}

// Validate is called by the parser after the registered claims were checked.
func (c Caller) Validate() error {
	if c.Subject == "" || c.Tenant == "" || c.SourceType == "" || c.IssuedAt == nil || c.ExpiresAt == nil {
		return errors.New("a claim is missing")
	}
	if c.ExpiresAt.Sub(c.IssuedAt.Time) > time.Minute {
		return errors.New("lives longer than an identity token may")
	}
	return nil
}

// Verify returns the caller of a good x-portcullis-identity.
func Verify(token string, keys jwt.Keyfunc) (*Caller, error) {
	caller := &Caller{}
	parsed, err := jwt.ParseWithClaims(token, caller, keys,
		jwt.WithValidMethods([]string{"EdDSA"}),
		jwt.WithIssuer(os.Getenv("IDENTITY_ISSUER")),
		jwt.WithAudience(os.Getenv("CLUSTER")),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(5*time.Second))
	if err != nil {
		return nil, err
	}
	if parsed.Header["typ"] != "portcullis-identity+jwt" {
		return nil, errors.New("not an identity token")
	}
	return caller, nil
}

func main() {
	// Fetched in time, and when a token names a key that is not in it. The defaults are an hour and five minutes.
	keys, err := keyfunc.NewDefaultOverrideCtx(context.Background(), []string{os.Getenv("IDENTITY_JWKS_URL")}, keyfunc.Override{
		RefreshInterval:   2 * time.Minute,
		RefreshUnknownKID: rate.NewLimiter(rate.Every(5*time.Second), 1),
		RateLimitWaitMax:  time.Second,
		HTTPTimeout:       5 * time.Second,
	})
	if err != nil {
		panic(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64*1024)
	for lines.Scan() {
		caller, err := Verify(lines.Text(), keys.Keyfunc)
		if err != nil {
			fmt.Println("refused:", err)
			continue
		}
		fmt.Println(caller.Subject, caller.Tenant, caller.SourceType)
	}
}
