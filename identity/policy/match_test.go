package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leadglass/leadglass/identity/policy"
)

// applies says whether the first statement with the action's effect speaks of the request.
func applies(t *testing.T, text, action, resource string, keys *policy.Keys) bool {
	t.Helper()
	d, err := policy.Parse(policy.Identity, []byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var q policy.Question
	if !q.Reset(action, resource, keys, nil, nil) {
		t.Fatalf("%q is no action", action)
	}
	for _, effect := range []policy.Effect{policy.Deny, policy.Allow} {
		q.Walk(d, effect)
		for s := q.Next(); s != nil; s = q.Next() {
			if s.Applies(&q) {
				return true
			}
		}
	}
	return false
}

func TestConditionOperatorsCompareAsSpecified(t *testing.T) {
	const absent = "\x00"
	for _, c := range []struct {
		operator, listed string // listed is JSON
		value            string // of the request, several separated by |
		want             bool
	}{
		{"StringEquals", `"a"`, "a", true},
		{"StringEquals", `"a"`, "A", false},
		{"StringEquals", `"a*"`, "a*", true},
		{"StringEquals", `"a*"`, "ab", false},
		{"StringEquals", `""`, "", true},
		{"StringEquals", `10`, "10", true},
		{"StringEquals", `true`, "true", true},
		{"StringEquals", `"a"`, absent, false},
		{"StringNotEquals", `["a","b"]`, "b", false},
		{"StringNotEquals", `["a","b"]`, "c", true},
		{"StringNotEquals", `"a"`, absent, true},
		{"StringNotEqualsIfExists", `"a"`, absent, true},
		{"StringNotEqualsIfExists", `"a"`, "a", false},
		{"StringEqualsIgnoreCase", `"STRASSE"`, "strasse", true},
		{"StringEqualsIgnoreCase", `"Ä"`, "ä", true},
		{"StringEqualsIgnoreCase", `"STRASSE"`, "straße", false}, // simple folding only
		{"StringNotEqualsIgnoreCase", `"A"`, "a", false},
		{"StringLike", `"?é"`, "éé", true},
		{"StringLike", `"*??"`, "€", false},
		{"StringLike", `"a*b*c"`, "axxbyybzc", true},
		{"StringLike", `"a*b*c"`, "axxbyybz", false},
		{"StringLike", `"*"`, "", true},
		{"StringLike", `"?"`, "", false},
		{"StringLike", `"**a**"`, "xax", true},
		{"StringLike", `"A*"`, "ab", false},
		{"StringNotLike", `"a*"`, "ab", false},
		{"NumericEquals", `"010.50"`, "10.5", true},
		{"NumericEquals", `"0"`, "-0.0", true},
		{"NumericEquals", `"1"`, "1e0", false},
		{"NumericEquals", `"1"`, " 1", false},
		{"NumericEquals", `"0.1"`, "0.10000000000000000001", false},
		{"NumericNotEquals", `"1"`, "one", true},
		{"NumericLessThan", `"10"`, "9", true},
		{"NumericLessThan", `"-10"`, "-9", false},
		{"NumericLessThan", `"-1.5"`, "-1.75", true},
		{"NumericLessThan", `"0.5"`, "0.45", true},
		{"NumericLessThanEquals", `10`, "10.0", true},
		{"NumericGreaterThan", `"100000000000000000000"`, "100000000000000000001", true},
		{"NumericGreaterThan", `"1"`, "-2", false},
		{"NumericGreaterThanEquals", `"2"`, "one", false},
		{"DateEquals", `"2026-11-24"`, "2026-11-24T00:00:00Z", true},
		{"DateEquals", `"2026"`, "2026-01-01T00:00:00Z", true},
		{"DateEquals", `"2026-11"`, "2026-11-01", true},
		{"DateEquals", `"2026-11-24T13:00:00+01:00"`, "2026-11-24T12:00:00Z", true},
		{"DateEquals", `"2026-11-24T13:00:00+0100"`, "2026-11-24T12:00Z", true},
		{"DateEquals", `"1970-01-01T00:00:01.5Z"`, "1.5", true},
		{"DateEquals", `"1767225600"`, "2026-01-01", true},
		{"DateEquals", `1767225600`, "2026-01-01", true},
		{"DateEquals", `"2024-02-29"`, "2024-02-29T00:00:00.000Z", true},
		{"DateNotEquals", `"2026-11-24"`, "2026-11-24T24:00:00Z", true}, // no such hour: matches nothing
		{"DateLessThan", `"2026-11-24T12:00:00Z"`, "2026-11-24T11:59:59.999999999Z", true},
		{"DateLessThan", `"1767225600"`, "1767225600", false},
		{"DateLessThanEquals", `"1767225600"`, "1767225600", true},
		{"DateGreaterThan", `"2026-11-24"`, "tomorrow", false},
		{"DateGreaterThan", `"2026-11-24"`, "2026-11-24T00:00:00+01:00", false},
		{"DateGreaterThanEquals", `"1969"`, "0", true},
		{"Bool", `"TRUE"`, "true", true},
		{"Bool", `false`, "False", true},
		{"Bool", `"false"`, "no", false},
		{"Bool", `"false"`, absent, false},
		{"BoolIfExists", `"false"`, absent, true},
		{"BinaryEquals", `"QUJD"`, "QUJD", true},
		{"BinaryEquals", `"QUJD"`, "QU\nJD", true},
		{"BinaryEquals", `"QUJD"`, "QUJE", false},
		{"BinaryEquals", `"QUI="`, "QUI", false},
		{"IpAddress", `"10.0.0.1/8"`, "10.255.0.1", true},
		{"IpAddress", `"10.0.0.0/8"`, "::ffff:10.1.1.1", true},
		{"IpAddress", `"::ffff:10.0.0.0/104"`, "10.1.1.1", true},
		{"IpAddress", `"::/0"`, "10.1.1.1", false},
		{"IpAddress", `"0.0.0.0/0"`, "2001:db8::1", false},
		{"IpAddress", `"2001:db8::1"`, "2001:DB8:0::1", true},
		{"IpAddress", `"10.0.0.0/8"`, "10.0.0.1/32", false},
		{"IpAddress", `"fe80::/10"`, "fe80::1%eth0", false},
		{"NotIpAddress", `"10.0.0.0/8"`, "11.0.0.1", true},
		{"NotIpAddress", `"10.0.0.0/8"`, absent, true},
		{"ArnEquals", `"arn:aws:sns:*:1:t-?"`, "arn:aws:sns:eu:1:t-a", true},
		{"ArnLike", `"arn:aws:sns:*:t"`, "arn:aws:sns:eu:1:t", false},
		{"ArnLike", `"arn:aws:sns:*"`, "arn:aws:sns:eu:1:t", true},
		{"ArnLike", `"arn:aws:s*"`, "arn:aws:kms:eu:1:t", false},
		{"ArnLike", `"*"`, "arn:aws:sns:eu:1:t", true},
		{"ArnLike", `"*"`, "no ARN", false},
		{"ArnLike", `"arn:aws:sns:eu:1:*"`, "arn:aws:sns:eu:1:a:b", true},
		{"ArnNotEquals", `"arn:aws:sns:eu:1:t"`, "no ARN", true},
		{"ArnNotLike", `"arn:aws:sns:eu:1:*"`, "arn:aws:sns:eu:1:t", false},
		{"Null", `"true"`, absent, true},
		{"Null", `"true"`, "", false},
		{"Null", `"false"`, "", true},
		{"Null", `false`, absent, false},
		{"Null", `["true","false"]`, absent, true},
		{"ForAllValues:StringEquals", `["a","b"]`, "a|b|a", true},
		{"ForAllValues:StringEquals", `["a","b"]`, "a|c", false},
		{"ForAllValues:StringEquals", `"a"`, absent, true},
		{"ForAllValues:StringNotEquals", `"a"`, "b|a", false},
		{"ForAllValues:StringNotEquals", `"a"`, "b|c", true},
		{"ForAllValues:NumericLessThan", `10`, "9|8", true},
		{"ForAnyValue:StringLike", `"a*"`, "b|ab", true},
		{"ForAnyValue:StringLike", `"a*"`, "b", false},
		{"ForAnyValue:StringLike", `"a*"`, absent, false},
		{"ForAnyValue:StringLikeIfExists", `"a*"`, absent, true},
		{"ForAnyValue:StringNotEquals", `["a","b"]`, "a|b", false},
		{"ForAnyValue:StringNotEquals", `["a","b"]`, "a|c", true},
		{"ForAnyValue:StringNotEquals", `"a"`, absent, false},
	} {
		var keys policy.Keys
		if c.value != absent {
			keys.Set("my:Key", strings.Split(c.value, "|")...)
		}
		for _, effect := range []string{"Allow", "Deny"} {
			text := fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":%q,"Action":"*","Resource":"*","Condition":{%q:{"MY:key":%s}}}}`, effect, c.operator, c.listed)
			if got := applies(t, text, "s3:GetObject", "*", &keys); got != c.want {
				t.Errorf("%s with %s %s on %q: %v", effect, c.operator, c.listed, c.value, got)
			}
		}
	}
}

func TestSeveralValuesUnderAnOperatorForOneNeitherAllowNorEscapeADeny(t *testing.T) {
	for name, set := range map[string]func(*policy.Keys){
		"a list":                     func(k *policy.Keys) { k.Set("aws:PrincipalTag/a", "x", "y") },
		"added one by one":           func(k *policy.Keys) { k.Add("aws:PrincipalTag/a", "x"); k.Add("aws:PrincipalTag/a", "y") },
		"two spellings":              func(k *policy.Keys) { k.Set("aws:PrincipalTag/a", "x"); k.Set("aws:PrincipalTag/A", "x") },
		"two spellings of a context": func(k *policy.Keys) { k.Set("kms:EncryptionContext:a", "x"); k.Set("kms:EncryptionContext:A", "x") },
	} {
		var keys policy.Keys
		set(&keys)
		key := "aws:PrincipalTag/a"
		if strings.Contains(name, "context") {
			key = "kms:EncryptionContext:a"
		}
		for _, operator := range []string{"StringEquals", "StringNotEquals", "StringEqualsIfExists", "StringNotLike"} {
			for effect, want := range map[string]bool{"Allow": false, "Deny": true} {
				text := fmt.Sprintf(`{"Statement":{"Effect":%q,"Action":"*","Resource":"*","Condition":{%q:{%q:"x"}}}}`, effect, operator, key)
				if got := applies(t, text, "s3:GetObject", "*", &keys); got != want {
					t.Errorf("%s, %s with %s: %v", name, effect, operator, got)
				}
			}
		}
	}
	// Of two tags that differ by case neither matches, not even for a set; an encryption
	// context is a set of values then.
	var keys policy.Keys
	keys.Set("aws:RequestTag/a", "x")
	keys.Set("aws:RequestTag/A", "x")
	keys.Set("kms:EncryptionContext:a", "x")
	keys.Set("kms:EncryptionContext:A", "x")
	for effect, want := range map[string]bool{"Allow": false, "Deny": true} {
		for _, present := range []string{"true", "false"} {
			text := fmt.Sprintf(`{"Statement":{"Effect":%q,"Action":"*","Resource":"*","Condition":{"Null":{"aws:RequestTag/a":%s}}}}`, effect, present)
			if got := applies(t, text, "s3:GetObject", "*", &keys); got != want {
				t.Errorf("%s if Null is %s: %v", effect, present, got)
			}
		}
	}
	for key, want := range map[string]bool{"aws:RequestTag/a": false, "kms:EncryptionContext:a": true} {
		text := fmt.Sprintf(`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForAnyValue:StringEquals":{%q:"x"}}}}`, key)
		if got := applies(t, text, "s3:GetObject", "*", &keys); got != want {
			t.Errorf("ForAnyValue on %s: %v", key, got)
		}
	}
}

func TestResourcesMatchSegmentBySegment(t *testing.T) {
	var keys policy.Keys
	keys.Set("aws:username", "al*ce")
	keys.Set("aws:PrincipalTag/a", "x", "y")
	keys.Set("aws:UserAgent", "\xff")
	for _, c := range []struct {
		element, pattern, resource string
		allow, deny                bool
	}{
		{"Resource", "*", "*", true, true},
		{"Resource", "*", "anything", true, true},
		{"Resource", "arn:aws:s3:::b/*", "arn:aws:s3:::b/x/y:z", true, true},
		{"Resource", "arn:aws:s3:::b*", "arn:aws:s3:::b", true, true},
		{"Resource", "arn:aws:s3:::b/*", "*", false, false},
		{"Resource", "arn:*:s3:::b", "arn:aws-cn:s3:::b", true, true},
		{"Resource", "arn:aws:s3:*", "arn:aws:s3:::b", true, true},
		{"Resource", "arn:aws:s3:::*", "arn:aws:s3", false, false}, // too few segments
		{"Resource", "arn:aws:s3:::${aws:absent, ''}*", "arn:aws:s3", false, false},
		{"Resource", "arn:aws:s3:::*", "arn:aws:s3:::", true, true},
		{"Resource", "arn:aws:s3*", "arn:aws:s3:::b", true, true},
		{"Resource", "arn:aws:s*3*", "arn:aws:sqs::3:b", false, false}, // a star inside a segment stays there
		{"Resource", "arn:aws:kms:us-*:1:*", "arn:aws:kms:eu:us-x:1:key", false, false},
		{"Resource", "arn:aws:s3:::b/${aws:username}", "arn:aws:s3:::b/al*ce", true, true},
		{"Resource", "arn:aws:s3:::b/${aws:username}", "arn:aws:s3:::b/alice", false, false},
		{"Resource", "arn:aws:s3:::b/${aws:username}*", "arn:aws:s3:::b/al*ce/x", true, true},
		{"Resource", "arn:aws:s3:::b/${aws:PrincipalTag/a}", "arn:aws:s3:::b/x", false, false},
		{"Resource", "arn:aws:s3:::b/${aws:PrincipalTag/a, 'd'}", "arn:aws:s3:::b/d", true, true},
		{"Resource", "arn:aws:s3:::b/${aws:absent,'*'}", "arn:aws:s3:::b/d", false, false},
		{"Resource", "arn:aws:s3:::b/${aws:absent,'*'}", "arn:aws:s3:::b/*", true, true},
		{"Resource", "arn:aws:s3:::b/${aws:UserAgent}", "arn:aws:s3:::b/x", false, false},
		{"Resource", "arn:aws:s3:::b/$${?}${$}", "arn:aws:s3:::b/$?$", true, true},
		{"NotResource", "arn:aws:s3:::b/*", "arn:aws:s3:::c", true, true},
		{"NotResource", "arn:aws:s3:::b/*", "arn:aws:s3:::b/c", false, false},
		{"NotResource", "*", "*", false, false},
		{"NotResource", "arn:aws:s3:::*", "arn:aws:s3", true, true},
		{"NotResource", "arn:aws:s3:::${aws:absent, ''}*", "arn:aws:s3", true, true},
		{"NotResource", "arn:aws:s3:::b/${aws:absent}", "arn:aws:s3:::c", false, true},
		{"NotResource", "arn:aws:s3:::b/${aws:PrincipalTag/a}", "arn:aws:kms:::c", false, true},
		{"NotResource", "arn:aws:s3:::b/${aws:absent, 'c'}", "arn:aws:s3:::b/c", false, false},
	} {
		for effect, want := range map[string]bool{"Allow": c.allow, "Deny": c.deny} {
			text := fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":%q,"Action":"*",%q:%q}}`, effect, c.element, c.pattern)
			if got := applies(t, text, "s3:GetObject", c.resource, &keys); got != want {
				t.Errorf("%s %s %s on %s: %v", effect, c.element, c.pattern, c.resource, got)
			}
		}
	}
}

func TestVariablesInConditions(t *testing.T) {
	var keys policy.Keys
	keys.Set("aws:username", "alice")
	keys.Set("aws:PrincipalArn", "arn:aws:iam::111111111111:user/alice")
	keys.Set("my:Key", "arn:aws:iam::111111111111:user/alice")
	keys.Set("my:Name", "ALICE")
	for _, c := range []struct {
		version, block string
		want           bool
	}{
		{"2012-10-17", `{"StringEquals":{"my:Key":"arn:aws:iam::111111111111:user/${aws:username}"}}`, true},
		{"2012-10-17", `{"StringLike":{"my:Key":"*/${aws:username}"}}`, true},
		{"2012-10-17", `{"StringEqualsIgnoreCase":{"my:Name":"${aws:username}"}}`, true},
		{"2012-10-17", `{"ArnEquals":{"my:Key":"${aws:PrincipalArn}"}}`, true},
		{"2012-10-17", `{"ArnLike":{"my:Key":"arn:aws:iam:*:${aws:absent, '111111111111'}:user/*"}}`, true},
		{"2012-10-17", `{"ArnLike":{"my:Key":"arn:aws:*:${aws:absent, ''}*"}}`, true},
		{"2012-10-17", `{"ArnLike":{"my:Key":"arn:aws:${aws:absent, 'iam'}"}}`, false},
		{"2012-10-17", `{"ArnLike":{"my:Key":"${aws:absent}"}}`, false},
		{"2012-10-17", `{"ArnNotLike":{"my:Key":"${aws:absent}"}}`, true},
		{"2012-10-17", `{"StringNotEquals":{"my:Key":"${aws:absent}"}}`, true},
		{"2012-10-17", `{"StringNotEquals":{"my:Name":["${aws:absent}","ALICE"]}}`, false},
		{"2008-10-17", `{"StringEquals":{"my:Name":"${aws:username}"}}`, false},
		{"2008-10-17", `{"StringNotEquals":{"my:Name":"${"}}`, true},
	} {
		text := fmt.Sprintf(`{"Version":%q,"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":%s}}`, c.version, c.block)
		if got := applies(t, text, "s3:GetObject", "*", &keys); got != c.want {
			t.Errorf("%s %s: %v", c.version, c.block, got)
		}
	}
}

func TestTheIndexFindsWhatTheStatementsSay(t *testing.T) {
	text := `{"Statement":[
		{"Effect":"Allow","Action":["s3:GetObject","s3:Get*","S3:getobject"],"Resource":"*"},
		{"Effect":"Allow","Action":"*","Resource":"*"},
		{"Effect":"Allow","Action":["kms:*","*:*"],"Resource":"*"},
		{"Effect":"Allow","NotAction":["s3:*","kms:Decrypt"],"Resource":"*"},
		{"Effect":"Allow","NotAction":["s3:Put*","s3:GetObject"],"Resource":"*"},
		{"Effect":"Allow","NotAction":"*","Resource":"*"},
		{"Effect":"Deny","Action":"s3:GetObject","Resource":"*"},
		{"Effect":"Allow","Action":["s3:*Object","s3:?etObject"],"Resource":"*"},
		{"Effect":"Allow","Action":"s3-object-lambda:GetObject","Resource":"*"}]}`
	d, err := policy.Parse(policy.Identity, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for action, want := range map[string][]int{
		"s3:GetObject":               {0, 1, 2, 7},
		"S3:GETOBJECT":               {0, 1, 2, 7},
		"s3:GetObjectAcl":            {0, 1, 2, 4},
		"s3:PutObject":               {1, 2, 7},
		"kms:Decrypt":                {1, 2, 4},
		"kms:Encrypt":                {1, 2, 3, 4},
		"iam:CreateUser":             {1, 2, 3, 4},
		"s3-object-lambda:GetObject": {1, 2, 3, 4, 8},
	} {
		var q policy.Question
		q.Reset(action, "*", nil, nil, nil)
		var got []int
		q.Walk(d, policy.Allow)
		for s := q.Next(); s != nil; s = q.Next() {
			got = append(got, s.Index)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: statements %v, want %v", action, got, want)
		}
	}
	var q policy.Question
	for _, action := range []string{"", "GetObject", ":GetObject", "*", "s3:" + strings.Repeat("x", 200)} {
		if q.Reset(action, "*", nil, nil, nil) {
			t.Errorf("%q passes for an action", action)
		}
	}
}

func TestKeysHaveNoCase(t *testing.T) {
	var k policy.Keys
	if _, ok := k.Get("aws:x"); ok || k.Len() != 0 {
		t.Error("the zero value holds a key")
	}
	for i := range 200 { // beyond the first table
		k.Set(fmt.Sprintf("aws:RequestTag/%d", i), fmt.Sprint(i))
	}
	k.Set("aws:SourceIp", "10.0.0.1")
	k.Set("aws:SourceIp", "10.0.0.2")
	k.Set("aws:TagKeys", "a")
	k.Set("aws:TagKeys", "a", "b", "c")
	k.Add("aws:TagKeys", "d")
	k.Set("aws:RequestTag/Größe", "XL")
	k.Set("\u212Aey:a", "kelvin") // the Kelvin sign folds to k
	k.Set("aws:gone", "x")
	k.Set("aws:gone")
	for name, want := range map[string]string{
		"AWS:REQUESTTAG/199":   "199",
		"aws:sourceip":         "10.0.0.2",
		"aws:TagKeys":          "a b c d",
		"aws:requesttag/GRÖßE": "XL",
		"key:A":                "kelvin",
	} {
		if v, ok := k.Get(name); !ok || strings.Join(v, " ") != want {
			t.Errorf("%s: %q, %v", name, v, ok)
		}
	}
	if _, ok := k.Get("aws:gone"); ok {
		t.Error("a key without values is present")
	}
	n := 0
	for name := range k.All() {
		n++
		if name == "aws:gone" {
			t.Error("All gives a key without values")
		}
	}
	if n != 204 {
		t.Errorf("All gives %d keys", n)
	}
	k.Reset()
	if _, ok := k.Get("aws:SourceIp"); ok || k.Len() != 0 {
		t.Error("Reset leaves a key")
	}
	if n := testing.AllocsPerRun(10, func() {
		k.Reset()
		for _, name := range []string{"aws:a", "aws:b", "aws:c"} {
			k.Set(name, "x", "y")
		}
	}); n != 0 {
		t.Errorf("%v allocations after a Reset", n)
	}
}

// A pattern of many stars against a long text that does not match must stay
// quadratic; a backtracking matcher would not end.
func TestNoPatternIsExponential(t *testing.T) {
	text := condition(`{"StringLike":{"a:b":"` + strings.Repeat("*a", 200) + `b"}}`)
	var keys policy.Keys
	keys.Set("a:b", strings.Repeat("a", 20000))
	start := time.Now()
	if applies(t, text, "s3:GetObject", "*", &keys) {
		t.Error("matched")
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

// Nor may a document be slow to compile: this one names as many services and wild statements as fit.
func TestNoDocumentIsSlowToCompile(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"Statement":[`)
	for i := range 1500 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"Effect":"Deny","NotAction":["v%d:*","w%d:*"],"Resource":"*"}`, i, i)
	}
	b.WriteString(`]}`)
	start := time.Now()
	if _, err := policy.Parse(policy.Identity, []byte(b.String())); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("took %v", d)
	}
}

// A question remembers keys and repeated conditions. Neither more keys than it has room for, nor
// a change of the document, nor a statement of another document may give it a wrong answer.
func TestAQuestionRemembersNothingWrong(t *testing.T) {
	var keys policy.Keys
	var listed, failing []string
	for i := range 60 {
		keys.Set(fmt.Sprintf("a:k%d", i), fmt.Sprint(i))
		listed = append(listed, fmt.Sprintf(`"a:k%d":["${a:k%d}"]`, i, (i*7)%60), fmt.Sprintf(`"a:K%d":"%d"`, i, i))
		failing = append(failing, fmt.Sprintf(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"a:k%d":"x"}}}`, i%30))
	}
	both := func(pairs []string) string {
		return `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringLike":{` + strings.Join(pairs, ",") + `}}}}`
	}
	// Each key against its own value, and a hundred times against another's.
	var own []string
	for i := range 60 {
		own = append(own, fmt.Sprintf(`"a:k%d":["${a:k%d}","${a:k%d}"]`, i, (i*7)%60, i))
	}
	if !applies(t, both(own), "s3:GetObject", "*", &keys) {
		t.Error("sixty keys that match do not")
	}
	if applies(t, both(slices.DeleteFunc(listed, func(s string) bool { return strings.Contains(s, "K") })), "s3:GetObject", "*", &keys) {
		t.Error("a key matches another's value")
	}
	if applies(t, `{"Statement":[`+strings.Join(failing, ",")+`]}`, "s3:GetObject", "*", &keys) {
		t.Error("a repeated condition that fails holds")
	}

	// The first repeated condition of one document fails, that of the other holds.
	statement := func(value string) string {
		return `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"a:k1":"` + value + `"}}}`
	}
	var documents []*policy.Document
	for _, value := range []string{"x", "1"} {
		d, err := policy.Parse(policy.Identity, []byte(`{"Statement":[`+statement(value)+`,`+statement(value)+`]}`))
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, d)
	}
	var q policy.Question
	q.Reset("s3:GetObject", "*", &keys, nil, nil)
	for range 2 {
		for i, d := range documents {
			q.Walk(d, policy.Allow)
			for s := q.Next(); s != nil; s = q.Next() {
				for j := range documents { // also statements that the walk does not go over
					if got := documents[j].Statements()[s.Index].Applies(&q); got != (j == 1) {
						t.Errorf("walking over %d: statement %d of document %d: %v", i, s.Index, j, got)
					}
				}
			}
		}
	}
	keys.Set("a:k1", "x")
	q.Reset("s3:GetObject", "*", &keys, nil, nil)
	if q.Walk(documents[0], policy.Allow); !q.Next().Applies(&q) {
		t.Error("a question remembers beyond its Reset")
	}
}
