package directory

import (
	"context"
	"strings"
	"time"

	"github.com/leadglass/leadglass/base/id"
	"github.com/leadglass/leadglass/identity/arn"
	"github.com/leadglass/leadglass/identity/authority"
)

// A service-linked role belongs to a service (service-roles-and-consent section
// 5): its trust policy names the service alone, its customer may describe, tag and
// delete it, and organizations' policies do not limit it. What it may do comes
// with the acceptance of a version of its policy. No service of this installation
// publishes one, so that such a role exists, may be referred to, and is allowed
// nothing.

// serviceRolePath begins the path of every service-linked role, and of no other.
const serviceRolePath = "/aws-service-role/"

// deletionLife is how long it can be asked what became of a deletion.
const deletionLife = 7 * 24 * time.Hour

// A deletionRecord says what became of the deletion of a service-linked role.
type deletionRecord struct {
	Role    string `cbor:"1,keyasint"` // name
	Service string `cbor:"2,keyasint"`
	Time    int64  `cbor:"3,keyasint"`
}

// A serviceName is what AWS's services call their role, and whether an account
// may have several with suffixes.
type serviceName struct {
	role   string
	suffix bool
}

// serviceNames are the services that have service-linked roles, as AWS documents
// them. Tools create and refer to these names; any other service is refused.
var serviceNames = map[string]serviceName{
	"access-analyzer.amazonaws.com":                   {"AccessAnalyzer", false},
	"autoscaling.amazonaws.com":                       {"AutoScaling", true},
	"backup.amazonaws.com":                            {"Backup", false},
	"batch.amazonaws.com":                             {"Batch", false},
	"cks.kms.amazonaws.com":                           {"KeyManagementServiceCustomKeyStores", false},
	"cloudtrail.amazonaws.com":                        {"CloudTrail", false},
	"config.amazonaws.com":                            {"Config", false},
	"connect.amazonaws.com":                           {"AmazonConnect", true},
	"dax.amazonaws.com":                               {"DAX", false},
	"dynamodb.application-autoscaling.amazonaws.com":  {"ApplicationAutoScaling_DynamoDBTable", false},
	"ec2fleet.amazonaws.com":                          {"EC2Fleet", false},
	"ec2.application-autoscaling.amazonaws.com":       {"ApplicationAutoScaling_EC2SpotFleetRequest", false},
	"ecs.amazonaws.com":                               {"ECS", false},
	"ecs.application-autoscaling.amazonaws.com":       {"ApplicationAutoScaling_ECSService", false},
	"eks.amazonaws.com":                               {"AmazonEKS", false},
	"eks-nodegroup.amazonaws.com":                     {"AmazonEKSNodegroup", false},
	"elasticache.amazonaws.com":                       {"ElastiCache", false},
	"elasticbeanstalk.amazonaws.com":                  {"ElasticBeanstalk", false},
	"elasticfilesystem.amazonaws.com":                 {"AmazonElasticFileSystem", false},
	"elasticloadbalancing.amazonaws.com":              {"ElasticLoadBalancing", false},
	"email.cognito-idp.amazonaws.com":                 {"AmazonCognitoIdpEmailService", false},
	"es.amazonaws.com":                                {"AmazonElasticsearchService", false},
	"fsx.amazonaws.com":                               {"AmazonFSx", false},
	"globalaccelerator.amazonaws.com":                 {"GlobalAccelerator", false},
	"guardduty.amazonaws.com":                         {"AmazonGuardDuty", false},
	"inspector2.amazonaws.com":                        {"AmazonInspector2", false},
	"kafka.amazonaws.com":                             {"Kafka", false},
	"lambda.application-autoscaling.amazonaws.com":    {"ApplicationAutoScaling_LambdaConcurrency", false},
	"lex.amazonaws.com":                               {"LexBots", false},
	"lexv2.amazonaws.com":                             {"LexV2Bots", true},
	"macie.amazonaws.com":                             {"AmazonMacie", false},
	"mrk.kms.amazonaws.com":                           {"KeyManagementServiceMultiRegionKeys", false},
	"opensearchservice.amazonaws.com":                 {"AmazonOpenSearchService", false},
	"ops.apigateway.amazonaws.com":                    {"APIGateway", false},
	"organizations.amazonaws.com":                     {"Organizations", false},
	"rds.amazonaws.com":                               {"RDS", false},
	"rds.application-autoscaling.amazonaws.com":       {"ApplicationAutoScaling_RDSCluster", false},
	"redshift.amazonaws.com":                          {"Redshift", false},
	"replicator.lambda.amazonaws.com":                 {"LambdaReplicator", false},
	"resource-explorer-2.amazonaws.com":               {"ResourceExplorer", false},
	"s3.data-source.lustre.fsx.amazonaws.com":         {"FSxS3Access", true},
	"sagemaker.application-autoscaling.amazonaws.com": {"ApplicationAutoScaling_SageMakerEndpoint", false},
	"securityhub.amazonaws.com":                       {"SecurityHub", false},
	"spot.amazonaws.com":                              {"EC2Spot", false},
	"spotfleet.amazonaws.com":                         {"EC2SpotFleet", false},
	"ssm.amazonaws.com":                               {"AmazonSSM", false},
	"sso.amazonaws.com":                               {"SSO", false},
	"support.amazonaws.com":                           {"Support", false},
	"transitgateway.amazonaws.com":                    {"VPCTransitGateway", false},
	"trustedadvisor.amazonaws.com":                    {"TrustedAdvisor", false},
	"wafv2.amazonaws.com":                             {"WAFV2Logging", false},
}

// ordinary refuses what nobody but its service may change.
func ordinary(rec *entityRecord) error {
	if rec.Service == "" {
		return nil
	}
	return refuse(UnmodifiableEntity, "Cannot perform the operation on the protected role '%s' - this role is only modifiable by AWS", rec.Name)
}

// A NewServiceLinkedRole is the input of CreateServiceLinkedRole.
type NewServiceLinkedRole struct {
	Service     string // autoscaling.amazonaws.com
	Suffix      string // "": the service's one role
	Description string
}

// ServiceLinkedRoleName is the name and path of the role that a service would
// have with a suffix. A service that has none is refused.
func ServiceLinkedRoleName(service, suffix string) (path, name string, err error) {
	known, ok := serviceNames[service]
	switch {
	case !ok:
		return "", "", refuse(InvalidInput, "%s is not a service that has service-linked roles.", service)
	case suffix == "":
		return serviceRolePath + service + "/", "AWSServiceRoleFor" + known.role, nil
	case !known.suffix:
		return "", "", refuse(InvalidInput, "Custom suffix is not allowed for %s", service)
	}
	return serviceRolePath + service + "/", "AWSServiceRoleFor" + known.role + "_" + suffix, nil
}

// CreateServiceLinkedRole makes the role of a service.
func (d *Directory) CreateServiceLinkedRole(ctx context.Context, account string, in NewServiceLinkedRole) (Role, error) {
	path, name, err := ServiceLinkedRoleName(in.Service, in.Suffix)
	if err != nil {
		return Role{}, err
	}
	if err := checkDescription(in.Description); err != nil {
		return Role{}, err
	}
	rec := entityRecord{
		Kind: RoleKind, ID: id.Unique("AROA"), Name: name, Description: in.Description, Service: in.Service, MaxSession: minMaxSession,
		Trust: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"` + in.Service + `"},"Action":"sts:AssumeRole"}]}`,
	}
	switch _, err := d.create(ctx, account, rec, path); {
	case CodeOf(err) == EntityAlreadyExists:
		return Role{}, refuse(InvalidInput, "Service role name %s has been taken in this account, please try a different suffix.", name)
	case err != nil:
		return Role{}, err
	}
	return d.GetRole(account, name)
}

// DeleteServiceLinkedRole deletes the role of a service. Nothing of this
// installation is at work under such a role, so the deletion is done when it
// returns; task is what GetServiceLinkedRoleDeletion is asked with.
func (d *Directory) DeleteServiceLinkedRole(ctx context.Context, account, name string) (task string, err error) {
	r, err := d.need(account)
	if err != nil {
		return "", err
	}
	number := id.UUID()
	var gone *entityRecord
	err = d.change(ctx, r, func(t *tx) error {
		e, err := r.find(RoleKind, name)
		if err != nil {
			return err
		}
		if e.rec.Service == "" {
			return refuse(NoSuchEntity, "There is no service-linked role with name %s.", name)
		}
		gone = e.rec
		t.delete(recordKey(account, sectionEntity, gone.ID), e.mod)
		t.drop(nameKey(account, RoleKind, gone.Name))
		t.drop(recordKey(account, sectionUsed, gone.ID))
		t.drop(recordKey(account, sectionAccessed, gone.ID))
		now := d.clock.Now()
		t.insert(recordKey(account, sectionDeletion, number), deletionRecord{Role: gone.Name, Service: gone.Service, Time: now.UnixMilli()})
		for old, rec := range r.deletions {
			if now.Sub(instant(rec.Time)) > deletionLife && len(t.ops) < maxDropped {
				t.drop(recordKey(account, sectionDeletion, old))
			}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	task = "task" + serviceRolePath + gone.Service + "/" + gone.Name + "/" + number
	return task, d.revoke(ctx, authority.Revocation{PrincipalID: gone.ID, By: account})
}

// maxDropped keeps a commit that also cleans up below the store's limit.
const maxDropped = 64

// DeletionTaskRole is the ARN that the role of a deletion had; ok is false for
// what is not the id of a task.
func DeletionTaskRole(account, task string) (roleARN string, ok bool) {
	service, role, _, ok := splitTask(task)
	return arn.IAM(account, RoleKind.String(), serviceRolePath+service+"/", role), ok
}

func splitTask(task string) (service, role, number string, ok bool) {
	rest, ok := strings.CutPrefix(task, "task"+serviceRolePath)
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 {
		return "", "", "", false
	}
	return parts[0], parts[1], parts[2], validName.MatchString(parts[0]) && validName.MatchString(parts[1])
}

// GetServiceLinkedRoleDeletion finds the deletion of a service-linked role. One
// that is found has succeeded.
func (d *Directory) GetServiceLinkedRoleDeletion(account, task string) error {
	r, err := d.need(account)
	if err != nil {
		return err
	}
	service, role, number, ok := splitTask(task)
	if !ok {
		return refuse(InvalidInput, "The deletion task id %s is not valid.", task)
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if rec := r.deletions[number]; rec == nil || rec.Service != service || rec.Role != role {
		return refuse(NoSuchEntity, "The deletion task %s cannot be found.", task)
	}
	return nil
}

// setDeletion replaces a deletion; rec nil removes it. Caller holds r.mu.
func (r *realm) setDeletion(id string, rec *deletionRecord) {
	if rec == nil {
		delete(r.deletions, id)
		return
	}
	r.deletions[id] = rec
}
