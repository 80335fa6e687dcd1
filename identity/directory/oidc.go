package directory

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/authority"
	"github.com/leadglass/leadglass/state/kv"
)

// Limits of OpenID Connect providers, as AWS has them.
const (
	maxProviders   = 100 // of an account
	maxClientIDs   = 100 // of a provider
	maxClientID    = 255 // characters
	maxThumbprints = 5
	maxIssuer      = 255 // characters
)

// An OIDCProvider is an OpenID Connect issuer whose tokens an account accepts
// (sts-and-fas section 3, web identity). It is immutable; a change replaces it.
//
// Its name is its URL, which is the issuer's own and never another's: a trust
// policy names the provider by it, and means the same issuer after the provider
// was deleted and made anew. What the provider opened is bound to ID, which is
// new then: sessions do not come back (I-6).
type OIDCProvider struct {
	Account, ARN string
	ID           string // OIDC and 17 characters; the credential at the start of its sessions' chains
	URL          string // without https://, as in the ARN and in condition keys
	ClientIDs    []string
	Thumbprints  []string // lower-case hex of SHA-1
	Created      time.Time
	Tags         []Tag
}

// Issuer is what the iss claim of the provider's tokens says.
func (p *OIDCProvider) Issuer() string { return "https://" + p.URL }

// A NewOIDCProvider is the input of CreateOpenIDConnectProvider.
type NewOIDCProvider struct {
	URL         string // with https://
	ClientIDs   []string
	Thumbprints []string
	Tags        []Tag
}

// An oidcRecord rests under its URL, which makes URLs unique.
type oidcRecord struct {
	ID          string      `cbor:"1,keyasint"`
	Created     int64       `cbor:"2,keyasint"`
	Clients     []string    `cbor:"3,keyasint,omitempty"`
	Thumbprints []string    `cbor:"4,keyasint,omitempty"`
	Tags        []tagRecord `cbor:"5,keyasint,omitempty"`
}

const sectionOIDC = "oidc"

// federationName is an entry beside a record of this file or of outbound.go, so
// that Check misses the record when it is lost.
func federationName(account, section, name string) kv.Key {
	return kv.Table('I').Text(account).Text(sectionName).Text(section).Text(name)
}

// A provider is the place of one OpenID Connect provider.
type provider struct {
	url string
	rec *oidcRecord // guarded by realm.write and realm.mu
	mod kv.Rev      // guarded by realm.write and realm.mu
	// public is what readers see; nil: deleted.
	public atomic.Pointer[OIDCProvider]
}

// ProviderARN is the ARN that an OpenID Connect provider has or would have.
func ProviderARN(account, url string) string {
	return "arn:" + arn.Partition + ":iam::" + account + ":oidc-provider/" + url
}

// IssuerOf checks the URL of a provider and takes https:// off it. AWS takes a
// host and a path. We take a port too, because an issuer inside a house often
// has one, but not the default one, with which one issuer would have two names.
// A bare word is no host here: claims are condition keys HOST/PATH:NAME, and a
// host named aws would speak in AWS's name.
func IssuerOf(text string) (issuer string, err error) {
	rest, ok := strings.CutPrefix(text, "https://")
	u, perr := url.Parse(text)
	bad := !ok || perr != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" ||
		perr == nil && !strings.ContainsAny(u.Host, ".:") || strings.HasSuffix(text, "#") || len(text) > maxIssuer || u.Port() == "443" || strings.HasSuffix(u.Host, ":") ||
		strings.Contains(u.Path, "//") || strings.Contains("/"+u.Path+"/", "/../") || strings.Contains("/"+u.Path+"/", "/./") ||
		strings.HasSuffix(u.Path, "/.well-known/openid-configuration")
	// Wildcards and variables of the policy language would mean something in the ARN and in condition keys.
	if bad || strings.ContainsFunc(rest, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`*?$"'<>\{}|^`+"`", c)
	}) {
		return "", refuse(InvalidInput, "Invalid Open ID Connect Provider URL")
	}
	// A host's case means nothing; a path's may.
	return strings.ToLower(rest[:len(u.Host)]) + rest[len(u.Host):], nil
}

func checkClientID(client string) error {
	if n := len([]rune(client)); n < 1 || n > maxClientID {
		return refuse(ValidationError, "1 validation error detected: Value at 'clientID' failed to satisfy constraint: Member must have length between 1 and %d", maxClientID)
	}
	return nil
}

// checkThumbprints returns them as they are kept.
func checkThumbprints(prints []string) ([]string, error) {
	if len(prints) > maxThumbprints {
		return nil, refuse(InvalidInput, "Thumbprint list must contain fewer than %d entries.", maxThumbprints)
	}
	var out []string
	for _, p := range prints {
		p = strings.ToLower(p)
		if len(p) != 40 || strings.Trim(p, "0123456789abcdef") != "" {
			return nil, refuse(InvalidInput, "Thumbprint is not valid: it must be the 40 hexadecimal digits of a certificate's SHA-1.")
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out, nil
}

// CreateOIDCProvider registers an issuer. Nothing is asked of the issuer: that
// it answers is found out when its first token is shown.
func (d *Directory) CreateOIDCProvider(ctx context.Context, account string, in NewOIDCProvider) (*OIDCProvider, error) {
	r, err := d.need(account)
	if err != nil {
		return nil, err
	}
	issuer, err := IssuerOf(in.URL)
	if err != nil {
		return nil, err
	}
	var clients []string
	for _, c := range in.ClientIDs {
		if err := checkClientID(c); err != nil {
			return nil, err
		}
		if !slices.Contains(clients, c) {
			clients = append(clients, c)
		}
	}
	if len(clients) > maxClientIDs {
		return nil, refuse(LimitExceeded, "Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: %d", maxClientIDs)
	}
	prints, err := checkThumbprints(in.Thumbprints)
	if err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	// Like an access key it is where chains of sessions begin, so its id carries the account as well: a revocation of
	// the account's sessions finds those that began here.
	unique, err := id.AccessKey("OIDC", account)
	if err != nil {
		return nil, fmt.Errorf("directory: provider: %w", err)
	}
	rec := oidcRecord{ID: unique, Created: d.clock.Now().UnixMilli(), Clients: clients, Thumbprints: prints, Tags: tagRecords(in.Tags)}
	err = d.change(ctx, r, func(t *tx) error {
		if r.providers[issuer] != nil {
			return refuse(EntityAlreadyExists, "Provider with url https://%s already exists.", issuer)
		}
		if len(r.providers) >= maxProviders {
			return refuse(LimitExceeded, "Cannot exceed quota for OpenIdConnectProvidersPerAccount: %d", maxProviders)
		}
		t.index(federationName(account, sectionOIDC, issuer), rec.ID)
		t.insert(recordKey(account, sectionOIDC, issuer), rec)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rec.public(account, issuer), nil
}

// GetOIDCProvider finds a provider of the account by its ARN.
func (d *Directory) GetOIDCProvider(account, providerARN string) (*OIDCProvider, error) {
	p, ok := d.OIDCProvider(account, urlOf(account, providerARN))
	if !ok {
		return nil, noSuchProvider(providerARN)
	}
	return p, nil
}

// OIDCProvider finds the provider of an account by its URL without https://.
func (d *Directory) OIDCProvider(account, url string) (*OIDCProvider, bool) {
	r := d.realm(account)
	if r == nil {
		return nil, false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if p := r.providers[url]; p != nil {
		return p.public.Load(), true
	}
	return nil, false
}

// OIDCProviderByID finds a provider by its unique id. It takes no lock: every
// request of a session that a provider opened asks for it.
func (d *Directory) OIDCProviderByID(id string) (*OIDCProvider, bool) {
	v, ok := d.origins.Load(id)
	if !ok {
		return nil, false
	}
	p := v.(*provider).public.Load()
	return p, p != nil && p.ID == id
}

// ListOIDCProviders lists all providers of an account in the order of their ARNs.
func (d *Directory) ListOIDCProviders(account string) ([]*OIDCProvider, error) {
	r, err := d.need(account)
	if err != nil {
		return nil, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []*OIDCProvider
	for _, p := range r.providers {
		all = append(all, p.public.Load())
	}
	slices.SortFunc(all, func(a, b *OIDCProvider) int { return cmp.Compare(a.ARN, b.ARN) })
	return all, nil
}

// DeleteOIDCProvider deletes a provider. One that does not exist is no error, as
// with AWS. The sessions that it opened end with it, which AWS's do not.
func (d *Directory) DeleteOIDCProvider(ctx context.Context, account, providerARN string) error {
	r, err := d.need(account)
	if err != nil {
		return err
	}
	gone := ""
	err = d.change(ctx, r, func(t *tx) error {
		gone = ""
		p := r.providers[urlOf(account, providerARN)]
		if p == nil {
			return nil
		}
		gone = p.rec.ID
		t.delete(recordKey(account, sectionOIDC, p.url), p.mod)
		t.drop(federationName(account, sectionOIDC, p.url))
		return nil
	})
	if err != nil || gone == "" {
		return err
	}
	// Here its sessions are dead already: Authenticate asks for the provider. This reaches those who cache.
	return d.revoke(ctx, authority.Revocation{CredentialID: gone, By: account})
}

// UpdateOIDCThumbprints replaces the list of thumbprints.
func (d *Directory) UpdateOIDCThumbprints(ctx context.Context, account, providerARN string, prints []string) error {
	prints, err := checkThumbprints(prints)
	if err != nil {
		return err
	}
	return d.alterProvider(ctx, account, providerARN, func(rec *oidcRecord) error {
		rec.Thumbprints = prints
		return nil
	})
}

// AddOIDCClientID adds a client id; one that is there already is no error.
func (d *Directory) AddOIDCClientID(ctx context.Context, account, providerARN, client string) error {
	if err := checkClientID(client); err != nil {
		return err
	}
	return d.alterProvider(ctx, account, providerARN, func(rec *oidcRecord) error {
		if slices.Contains(rec.Clients, client) {
			return nil
		}
		if len(rec.Clients) >= maxClientIDs {
			return refuse(LimitExceeded, "Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: %d", maxClientIDs)
		}
		rec.Clients = append(slices.Clone(rec.Clients), client)
		return nil
	})
}

// RemoveOIDCClientID removes a client id; one that is not there is no error.
func (d *Directory) RemoveOIDCClientID(ctx context.Context, account, providerARN, client string) error {
	return d.alterProvider(ctx, account, providerARN, func(rec *oidcRecord) error {
		rec.Clients = slices.DeleteFunc(slices.Clone(rec.Clients), func(c string) bool { return c == client })
		return nil
	})
}

// TagOIDCProvider adds tags; a key that is there already, in any case, is replaced.
func (d *Directory) TagOIDCProvider(ctx context.Context, account, providerARN string, tags []Tag) error {
	if err := checkTags(tags); err != nil {
		return err
	}
	return d.alterProvider(ctx, account, providerARN, func(rec *oidcRecord) (err error) {
		rec.Tags, err = withTags(rec.Tags, tags)
		return err
	})
}

// UntagOIDCProvider removes tags; keys that are not there are no error.
func (d *Directory) UntagOIDCProvider(ctx context.Context, account, providerARN string, keys []string) error {
	return d.alterProvider(ctx, account, providerARN, func(rec *oidcRecord) error {
		rec.Tags = withoutTags(rec.Tags, keys)
		return nil
	})
}

// ListOIDCProviderTags lists a provider's tags.
func (d *Directory) ListOIDCProviderTags(account, providerARN string, list List) (Page[Tag], error) {
	p, err := d.GetOIDCProvider(account, providerARN)
	if err != nil {
		return Page[Tag]{}, err
	}
	return pageOfNames(list, p.Tags, func(t Tag) string { return foldKey(t.Key) })
}

// alterProvider replaces a provider's record by what edit makes of a copy. edit
// must not change what the copy's slices point to.
func (d *Directory) alterProvider(ctx context.Context, account, providerARN string, edit func(rec *oidcRecord) error) error {
	r, err := d.need(account)
	if err != nil {
		return err
	}
	return d.change(ctx, r, func(t *tx) error {
		p := r.providers[urlOf(account, providerARN)]
		if p == nil {
			return noSuchProvider(providerARN)
		}
		rec := *p.rec
		if err := edit(&rec); err != nil {
			return err
		}
		t.put(recordKey(account, sectionOIDC, p.url), rec, p.mod)
		return nil
	})
}

func noSuchProvider(providerARN string) error {
	return refuse(NoSuchEntity, "OpenIDConnect Provider not found for arn %s", providerARN)
}

// urlOf is the URL in a provider's ARN, or "" if it is no provider's of the account.
func urlOf(account, providerARN string) string {
	url, ok := strings.CutPrefix(providerARN, ProviderARN(account, ""))
	if !ok {
		return ""
	}
	return url
}

func (rec *oidcRecord) public(account, url string) *OIDCProvider {
	return &OIDCProvider{
		Account: account, ARN: ProviderARN(account, url), ID: rec.ID, URL: url,
		ClientIDs: rec.Clients, Thumbprints: rec.Thumbprints, Created: instant(rec.Created), Tags: tagsOf(rec.Tags),
	}
}

// setProvider replaces a provider; rec nil removes it. Caller holds r.mu.
func (d *Directory) setProvider(r *realm, url string, rec *oidcRecord, mod kv.Rev) {
	p := r.providers[url]
	if p != nil && (rec == nil || rec.ID != p.rec.ID) {
		p.public.Store(nil)
		delete(r.providers, url)
		d.origins.Delete(p.rec.ID)
		p = nil
	}
	if rec == nil {
		return
	}
	if p == nil {
		p = &provider{url: url}
		r.providers[url] = p
	}
	p.rec, p.mod = rec, mod
	p.public.Store(rec.public(r.account, url))
	d.origins.Store(rec.ID, p)
}

// checkProviders is Check for the providers of one account.
func (s *stored) checkProviders() {
	ids := make(map[string]bool)
	for url, rec := range s.providers {
		s.named(federationName(s.account, sectionOIDC, url), rec.ID)
		if again, err := IssuerOf("https://" + url); err != nil || again != url {
			s.problem("an OpenID Connect provider has no URL of one")
		}
		if of, err := id.AccessKeyAccount(rec.ID); err != nil || of != s.account || !strings.HasPrefix(rec.ID, "OIDC") || ids[rec.ID] {
			s.problem("two OpenID Connect providers share the id %s, or it is none of the account", rec.ID)
		}
		ids[rec.ID] = true
		if _, err := checkThumbprints(rec.Thumbprints); err != nil || len(rec.Clients) > maxClientIDs {
			s.problem("OpenID Connect provider %s has what none can have", rec.ID)
		}
	}
}
