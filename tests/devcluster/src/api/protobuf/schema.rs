//! Field numbers of the published `generated.proto` files, for what kubectl sends.

/// How a field is written.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    /// A string; left out when empty.
    Text,
    /// Bytes, base64 in JSON.
    Bytes,
    /// A number; left out when zero.
    Number,
    /// A number whose zero means something.
    OptionalNumber,
    /// A flag; left out when false.
    Flag,
    /// A flag whose false means something.
    OptionalFlag,
    /// A nested object.
    Message(Message),
    /// Repeated.
    List(&'static Type),
    /// String keys.
    Map(&'static Type),
    /// `metav1.Time`.
    Time,
    /// `resource.Quantity`.
    Quantity,
    /// `intstr.IntOrString`.
    IntOrString,
}

/// Number, JSON name, type.
#[derive(Debug)]
pub struct Field(pub u32, pub &'static str, pub Type);

/// The fields of an object.
pub type Message = &'static [Field];

use Type::{Bytes, Flag, IntOrString, List, Map, Number, OptionalFlag, OptionalNumber, Quantity, Text, Time};

pub const TIME: Message = &[Field(1, "seconds", Number), Field(2, "nanos", Number)];
pub const QUANTITY: Message = &[Field(1, "string", Text)];
pub const INT_OR_STRING: Message = &[
    Field(1, "type", Number),
    Field(2, "number", Number),
    Field(3, "text", Text),
];

const OWNER: Message = &[
    Field(1, "kind", Text),
    Field(3, "name", Text),
    Field(4, "uid", Text),
    Field(5, "apiVersion", Text),
    Field(6, "controller", OptionalFlag),
    Field(7, "blockOwnerDeletion", OptionalFlag),
];

const META: Message = &[
    Field(1, "name", Text),
    Field(2, "generateName", Text),
    Field(3, "namespace", Text),
    Field(4, "selfLink", Text),
    Field(5, "uid", Text),
    Field(6, "resourceVersion", Text),
    Field(7, "generation", Number),
    Field(8, "creationTimestamp", Time),
    Field(9, "deletionTimestamp", Time),
    Field(10, "deletionGracePeriodSeconds", OptionalNumber),
    Field(11, "labels", Map(&Text)),
    Field(12, "annotations", Map(&Text)),
    Field(13, "ownerReferences", List(&Type::Message(OWNER))),
    Field(14, "finalizers", List(&Text)),
];

const NOTHING: Message = &[Field(1, "phase", Text)];
const NAMED: Message = &[Field(1, "name", Text)];
const NAMESPACE_SPEC: Message = &[Field(1, "finalizers", List(&Text))];

const SELECTOR: Message = &[
    Field(1, "matchLabels", Map(&Text)),
    Field(
        2,
        "matchExpressions",
        List(&Type::Message(&[
            Field(1, "key", Text),
            Field(2, "operator", Text),
            Field(3, "values", List(&Text)),
        ])),
    ),
];

const RESOURCES: Message = &[Field(1, "limits", Map(&Quantity)), Field(2, "requests", Map(&Quantity))];

const PORT: Message = &[
    Field(1, "name", Text),
    Field(2, "hostPort", Number),
    Field(3, "containerPort", Number),
    Field(4, "protocol", Text),
    Field(5, "hostIP", Text),
];

const CONTAINER: Message = &[
    Field(1, "name", Text),
    Field(2, "image", Text),
    Field(3, "command", List(&Text)),
    Field(4, "args", List(&Text)),
    Field(5, "workingDir", Text),
    Field(6, "ports", List(&Type::Message(PORT))),
    Field(
        7,
        "env",
        List(&Type::Message(&[Field(1, "name", Text), Field(2, "value", Text)])),
    ),
    Field(8, "resources", Type::Message(RESOURCES)),
    Field(13, "terminationMessagePath", Text),
    Field(14, "imagePullPolicy", Text),
    Field(16, "stdin", Flag),
    Field(17, "stdinOnce", Flag),
    Field(18, "tty", Flag),
    Field(20, "terminationMessagePolicy", Text),
];

const POD_SPEC: Message = &[
    Field(2, "containers", List(&Type::Message(CONTAINER))),
    Field(3, "restartPolicy", Text),
    Field(4, "terminationGracePeriodSeconds", OptionalNumber),
    Field(5, "activeDeadlineSeconds", OptionalNumber),
    Field(6, "dnsPolicy", Text),
    Field(7, "nodeSelector", Map(&Text)),
    Field(8, "serviceAccountName", Text),
    Field(9, "serviceAccount", Text),
    Field(10, "nodeName", Text),
    Field(11, "hostNetwork", Flag),
    Field(12, "hostPID", Flag),
    Field(13, "hostIPC", Flag),
    Field(15, "imagePullSecrets", List(&Type::Message(NAMED))),
    Field(16, "hostname", Text),
    Field(17, "subdomain", Text),
    Field(19, "schedulerName", Text),
    Field(20, "initContainers", List(&Type::Message(CONTAINER))),
];

const TEMPLATE: Message = &[
    Field(1, "metadata", Type::Message(META)),
    Field(2, "spec", Type::Message(POD_SPEC)),
];

const DEPLOYMENT_SPEC: Message = &[
    Field(1, "replicas", OptionalNumber),
    Field(2, "selector", Type::Message(SELECTOR)),
    Field(3, "template", Type::Message(TEMPLATE)),
    Field(
        4,
        "strategy",
        Type::Message(&[
            Field(1, "type", Text),
            Field(
                2,
                "rollingUpdate",
                Type::Message(&[
                    Field(1, "maxUnavailable", IntOrString),
                    Field(2, "maxSurge", IntOrString),
                ]),
            ),
        ]),
    ),
    Field(5, "minReadySeconds", Number),
    Field(6, "revisionHistoryLimit", OptionalNumber),
    Field(7, "paused", Flag),
    Field(9, "progressDeadlineSeconds", OptionalNumber),
];

const JOB_SPEC: Message = &[
    Field(1, "parallelism", OptionalNumber),
    Field(2, "completions", OptionalNumber),
    Field(3, "activeDeadlineSeconds", OptionalNumber),
    Field(4, "selector", Type::Message(SELECTOR)),
    Field(5, "manualSelector", OptionalFlag),
    Field(6, "template", Type::Message(TEMPLATE)),
    Field(7, "backoffLimit", OptionalNumber),
    Field(9, "completionMode", Text),
    Field(10, "suspend", OptionalFlag),
    Field(14, "podReplacementPolicy", Text),
];

const SERVICE_PORT: Message = &[
    Field(1, "name", Text),
    Field(2, "protocol", Text),
    Field(3, "port", Number),
    Field(4, "targetPort", IntOrString),
    Field(5, "nodePort", Number),
];

const SERVICE_SPEC: Message = &[
    Field(1, "ports", List(&Type::Message(SERVICE_PORT))),
    Field(2, "selector", Map(&Text)),
    Field(3, "clusterIP", Text),
    Field(4, "type", Text),
    Field(7, "sessionAffinity", Text),
    Field(8, "loadBalancerIP", Text),
    Field(10, "externalName", Text),
    Field(11, "externalTrafficPolicy", Text),
    Field(12, "healthCheckNodePort", Number),
    Field(13, "publishNotReadyAddresses", Flag),
];

const RULE: Message = &[
    Field(1, "verbs", List(&Text)),
    Field(2, "apiGroups", List(&Text)),
    Field(3, "resources", List(&Text)),
    Field(4, "resourceNames", List(&Text)),
    Field(5, "nonResourceURLs", List(&Text)),
];

const SUBJECT: Message = &[
    Field(1, "kind", Text),
    Field(2, "apiGroup", Text),
    Field(3, "name", Text),
    Field(4, "namespace", Text),
];
const ROLE_REF: Message = &[
    Field(1, "apiGroup", Text),
    Field(2, "kind", Text),
    Field(3, "name", Text),
];

const RESOURCE_ATTRIBUTES: Message = &[
    Field(1, "namespace", Text),
    Field(2, "verb", Text),
    Field(3, "group", Text),
    Field(4, "version", Text),
    Field(5, "resource", Text),
    Field(6, "subresource", Text),
    Field(7, "name", Text),
];
const PATH_ATTRIBUTES: Message = &[Field(1, "path", Text), Field(2, "verb", Text)];

const ACCESS_STATUS: Message = &[
    Field(1, "allowed", Flag),
    Field(2, "reason", Text),
    Field(3, "evaluationError", Text),
    Field(4, "denied", Flag),
];

const SELF_ACCESS_SPEC: Message = &[
    Field(1, "resourceAttributes", Type::Message(RESOURCE_ATTRIBUTES)),
    Field(2, "nonResourceAttributes", Type::Message(PATH_ATTRIBUTES)),
];

const ACCESS_SPEC: Message = &[
    Field(1, "resourceAttributes", Type::Message(RESOURCE_ATTRIBUTES)),
    Field(2, "nonResourceAttributes", Type::Message(PATH_ATTRIBUTES)),
    Field(3, "user", Text),
    Field(4, "groups", List(&Text)),
    Field(6, "uid", Text),
];

const USER_INFO: Message = &[
    Field(1, "username", Text),
    Field(2, "uid", Text),
    Field(3, "groups", List(&Text)),
];

const TOKEN_SPEC: Message = &[
    Field(1, "audiences", List(&Text)),
    Field(
        3,
        "boundObjectRef",
        Type::Message(&[
            Field(1, "kind", Text),
            Field(2, "apiVersion", Text),
            Field(3, "name", Text),
            Field(4, "uid", Text),
        ]),
    ),
    Field(4, "expirationSeconds", OptionalNumber),
];

const DELETE_OPTIONS: Message = &[
    Field(1, "gracePeriodSeconds", OptionalNumber),
    Field(
        2,
        "preconditions",
        Type::Message(&[Field(1, "uid", Text), Field(2, "resourceVersion", Text)]),
    ),
    Field(3, "orphanDependents", OptionalFlag),
    Field(4, "propagationPolicy", Text),
    Field(5, "dryRun", List(&Text)),
];

const ROLE: Message = &[
    Field(1, "metadata", Type::Message(META)),
    Field(2, "rules", List(&Type::Message(RULE))),
];
const BINDING: Message = &[
    Field(1, "metadata", Type::Message(META)),
    Field(2, "subjects", List(&Type::Message(SUBJECT))),
    Field(3, "roleRef", Type::Message(ROLE_REF)),
];

/// The message of a kind.
pub fn message(kind: &str) -> Option<Message> {
    Some(match kind {
        "Namespace" => &[
            Field(1, "metadata", Type::Message(META)),
            Field(2, "spec", Type::Message(NAMESPACE_SPEC)),
            Field(3, "status", Type::Message(NOTHING)),
        ],
        "ConfigMap" => &[
            Field(1, "metadata", Type::Message(META)),
            Field(2, "data", Map(&Text)),
            Field(3, "binaryData", Map(&Bytes)),
            Field(4, "immutable", OptionalFlag),
        ],
        "Secret" => &[
            Field(1, "metadata", Type::Message(META)),
            Field(2, "data", Map(&Bytes)),
            Field(3, "type", Text),
            Field(4, "stringData", Map(&Text)),
            Field(5, "immutable", OptionalFlag),
        ],
        "ServiceAccount" => &[
            Field(1, "metadata", Type::Message(META)),
            Field(3, "imagePullSecrets", List(&Type::Message(NAMED))),
            Field(4, "automountServiceAccountToken", OptionalFlag),
        ],
        "Service" => &[
            Field(1, "metadata", Type::Message(META)),
            Field(2, "spec", Type::Message(SERVICE_SPEC)),
            Field(
                3,
                "status",
                Type::Message(&[Field(1, "loadBalancer", Type::Message(&[]))]),
            ),
        ],
        "Deployment" => &[
            Field(1, "metadata", Type::Message(META)),
            Field(2, "spec", Type::Message(DEPLOYMENT_SPEC)),
            Field(3, "status", Type::Message(DEPLOYMENT_STATUS)),
        ],
        "Job" => &[
            Field(1, "metadata", Type::Message(META)),
            Field(2, "spec", Type::Message(JOB_SPEC)),
            Field(3, "status", Type::Message(JOB_STATUS)),
        ],
        "Role" | "ClusterRole" => ROLE,
        "RoleBinding" | "ClusterRoleBinding" => BINDING,
        "TokenRequest" => &[
            Field(1, "metadata", Type::Message(META)),
            Field(2, "spec", Type::Message(TOKEN_SPEC)),
            Field(
                3,
                "status",
                Type::Message(&[Field(1, "token", Text), Field(2, "expirationTimestamp", Time)]),
            ),
        ],
        "SelfSubjectAccessReview" => &[
            Field(1, "metadata", Type::Message(META)),
            Field(2, "spec", Type::Message(SELF_ACCESS_SPEC)),
            Field(3, "status", Type::Message(ACCESS_STATUS)),
        ],
        "SubjectAccessReview" => &[
            Field(1, "metadata", Type::Message(META)),
            Field(2, "spec", Type::Message(ACCESS_SPEC)),
            Field(3, "status", Type::Message(ACCESS_STATUS)),
        ],
        "SelfSubjectReview" => &[
            Field(1, "metadata", Type::Message(META)),
            Field(
                2,
                "status",
                Type::Message(&[Field(1, "userInfo", Type::Message(USER_INFO))]),
            ),
        ],
        "DeleteOptions" => DELETE_OPTIONS,
        "Eviction" => &[
            Field(1, "metadata", Type::Message(META)),
            Field(2, "deleteOptions", Type::Message(DELETE_OPTIONS)),
        ],
        _ => return None,
    })
}

const DEPLOYMENT_STATUS: Message = &[
    Field(1, "observedGeneration", Number),
    Field(2, "replicas", Number),
    Field(3, "updatedReplicas", Number),
    Field(4, "availableReplicas", Number),
    Field(5, "unavailableReplicas", Number),
    Field(7, "readyReplicas", Number),
];

const JOB_STATUS: Message = &[
    Field(4, "active", Number),
    Field(5, "succeeded", Number),
    Field(6, "failed", Number),
];
