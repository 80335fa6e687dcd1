package directory

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// String is the word that ARNs, messages and index keys use.
func (k Kind) String() string {
	switch k {
	case UserKind:
		return "user"
	case RoleKind:
		return "role"
	case PolicyKind:
		return "policy"
	case GroupKind:
		return "group"
	case ProfileKind:
		return "instance-profile"
	}
	return "unknown"
}

var (
	validName = regexp.MustCompile(`^[\w+=,.@-]+$`)
	validPath = regexp.MustCompile(`^/([\x21-\x7E]+/)?$`)
	validTag  = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
	// validDescription is the model's pattern for descriptions of roles and policies.
	validDescription = regexp.MustCompile(`^[\x{0009}\x{000A}\x{000D}\x{0020}-\x{007E}\x{00A1}-\x{00FF}]*$`)
)

// Longest names, in characters.
const (
	maxName       = 64
	maxGroupName  = 128 // of instance profiles, too
	maxPolicyName = 128
	maxPath       = 512
	maxTags       = 50
)

// fold is the form in which names are compared. Names are ASCII.
func fold(name string) string { return strings.ToLower(name) }

// foldKey is the form in which tag keys are compared. By way of upper case, so
// that letters with two lower-case forms are one.
func foldKey(key string) string { return strings.ToLower(strings.ToUpper(key)) }

func checkName(member, name string, limit int) error {
	if len(name) > limit {
		return refuse(ValidationError, "1 validation error detected: Value at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", member, limit)
	}
	if !validName.MatchString(name) {
		return refuse(ValidationError, "The specified value for %s is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-", member)
	}
	return nil
}

// member is the parameter that names an entity of the kind.
func (k Kind) member() string {
	if k == ProfileKind {
		return "instanceProfileName"
	}
	return k.String() + "Name"
}

// longest is the longest name of an entity of the kind.
func (k Kind) longest() int {
	if k == GroupKind || k == ProfileKind {
		return maxGroupName
	}
	return maxName
}

// noSuch and alreadyThere are IAM's words for a name that is free or taken.
func noSuch(kind Kind, name string) error {
	if kind == ProfileKind {
		return refuse(NoSuchEntity, "Instance Profile %s cannot be found.", name)
	}
	return refuse(NoSuchEntity, "The %s with name %s cannot be found.", kind, name)
}

func alreadyThere(kind Kind, name string) error {
	if kind == ProfileKind {
		return refuse(EntityAlreadyExists, "Instance Profile %s already exists.", name)
	}
	return refuse(EntityAlreadyExists, "%s with name %s already exists.", title(kind), name)
}

// checkPath returns the path to be stored.
func checkPath(path string) (string, error) {
	if path == "" {
		return "/", nil
	}
	if len(path) > maxPath || !validPath.MatchString(path) {
		return "", refuse(ValidationError, "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.")
	}
	return path, nil
}

func checkDescription(s string) error {
	if utf8.RuneCountInString(s) > 1000 {
		return refuse(ValidationError, "1 validation error detected: Value at 'description' failed to satisfy constraint: Member must have length less than or equal to 1000")
	}
	if !validDescription.MatchString(s) {
		return refuse(ValidationError, "1 validation error detected: Value at 'description' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\u0009\\u000A\\u000D\\u0020-\\u007E\\u00A1-\\u00FF]*")
	}
	return nil
}

// checkTags refuses tags that cannot be kept, and keys that differ by case alone.
func checkTags(tags []Tag) error {
	if len(tags) > maxTags {
		return refuse(LimitExceeded, "The number of tags has reached the maximum limit.")
	}
	seen := make(map[string]bool, len(tags))
	for _, t := range tags {
		if n := utf8.RuneCountInString(t.Key); n < 1 || n > 128 {
			return refuse(ValidationError, "1 validation error detected: Value at 'tags.member.key' failed to satisfy constraint: Member must have length between 1 and 128")
		}
		if utf8.RuneCountInString(t.Value) > 256 {
			return refuse(ValidationError, "1 validation error detected: Value at 'tags.member.value' failed to satisfy constraint: Member must have length less than or equal to 256")
		}
		if !validTag.MatchString(t.Key) || !validTag.MatchString(t.Value) {
			return refuse(ValidationError, "1 validation error detected: Value at 'tags' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*")
		}
		k := foldKey(t.Key)
		if strings.HasPrefix(k, "aws:") {
			return refuse(InvalidInput, "Tag keys that start with aws: are reserved.")
		}
		if seen[k] {
			return refuse(InvalidInput, "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		seen[k] = true
	}
	return nil
}

func tagsOf(records []tagRecord) []Tag {
	if len(records) == 0 {
		return nil
	}
	tags := make([]Tag, len(records))
	for i, r := range records {
		tags[i] = Tag{r.Key, r.Value}
	}
	return tags
}

func tagRecords(tags []Tag) []tagRecord {
	var records []tagRecord
	for _, t := range tags {
		records = append(records, tagRecord{Key: t.Key, Value: t.Value})
	}
	return records
}

// lastSegment is what follows the last slash: the name behind a path.
func lastSegment(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }

// cutLast cuts s at its last slash.
func cutLast(s string) (before, after string) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", s
	}
	return s[:i], s[i+1:]
}
