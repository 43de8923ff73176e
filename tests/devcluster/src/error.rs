//! What a request is refused with: the API's `Status` object, with the reasons that clients branch on.

use serde_json::{Value, json};

use crate::resources::Resource;

/// A refused request.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status.
    pub code: u16,
    /// The machine-readable reason, e.g. `AlreadyExists`.
    pub reason: &'static str,
    /// What a person reads.
    pub message: String,
    /// `details.causes`: field, reason, message.
    pub causes: Vec<Cause>,
    /// Seconds after which a retry may help; also the `Retry-After` header.
    pub retry_after: Option<u64>,
    /// What it is about.
    pub(crate) about: Option<Box<About>>,
}

/// One fault of an invalid object.
#[derive(Debug, Clone)]
pub struct Cause {
    /// Path of the field.
    pub field: String,
    /// E.g. `FieldValueRequired`.
    pub reason: &'static str,
    /// What is wrong.
    pub message: String,
}

#[derive(Debug, Clone)]
pub(crate) struct About {
    name: String,
    group: &'static str,
    kind: String,
}

/// Result of anything that answers a request.
pub type Result<T, E = ApiError> = std::result::Result<T, E>;

impl ApiError {
    /// An error with no object in particular.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            code,
            reason,
            message: message.into(),
            causes: Vec::new(),
            retry_after: None,
            about: None,
        }
    }

    fn about(mut self, resource: &Resource, name: &str) -> ApiError {
        self.about = Some(Box::new(About {
            name: name.to_owned(),
            group: resource.group,
            kind: resource.plural.to_owned(),
        }));
        self
    }

    /// 404 for an object.
    pub fn not_found(resource: &Resource, name: &str) -> ApiError {
        ApiError::new(
            404,
            "NotFound",
            format!("{} \"{name}\" not found", resource.qualified()),
        )
        .about(resource, name)
    }

    /// 404 for a path that is not served.
    pub fn no_route() -> ApiError {
        ApiError::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// 409 on creation.
    pub fn exists(resource: &Resource, name: &str) -> ApiError {
        ApiError::new(
            409,
            "AlreadyExists",
            format!("{} \"{name}\" already exists", resource.qualified()),
        )
        .about(resource, name)
    }

    /// 409 because of what another writer did, or of a failed precondition.
    pub fn conflict(resource: &Resource, name: &str, why: impl std::fmt::Display) -> ApiError {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            resource.qualified()
        );
        ApiError::new(409, "Conflict", message).about(resource, name)
    }

    /// 409 because the resourceVersion of the request is not the object's.
    pub fn modified(resource: &Resource, name: &str) -> ApiError {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        ApiError::conflict(resource, name, why)
    }

    /// 422 because the update of an object that others contend for names no resourceVersion. The real server names the
    /// resource where others of its refusals name the kind.
    pub fn unconditional(resource: &Resource, name: &str) -> ApiError {
        let cause = Cause {
            field: "metadata.resourceVersion".to_owned(),
            reason: "FieldValueInvalid",
            message: "Invalid value: 0x0: must be specified for an update".to_owned(),
        };
        let message = format!(
            "{} \"{name}\" is invalid: {}: {}",
            resource.qualified(),
            cause.field,
            cause.message
        );
        let mut error = ApiError::new(422, "Invalid", message).about(resource, name);
        error.causes = vec![cause];
        error
    }

    /// 422 with its causes.
    pub fn invalid(resource: &Resource, name: &str, causes: Vec<Cause>) -> ApiError {
        let list: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let list = if list.len() == 1 {
            list.concat()
        } else {
            format!("[{}]", list.join(", "))
        };
        let what = if resource.group.is_empty() {
            resource.name.to_owned()
        } else {
            format!("{}.{}", resource.name, resource.group)
        };
        let mut error =
            ApiError::new(422, "Invalid", format!("{what} \"{name}\" is invalid: {list}")).about(resource, name);
        if let Some(about) = &mut error.about {
            about.kind = resource.name.to_owned();
        }
        error.causes = causes;
        error
    }

    /// 403 with the reason in the message.
    pub fn forbidden(resource: &Resource, name: &str, why: impl std::fmt::Display) -> ApiError {
        ApiError::new(
            403,
            "Forbidden",
            format!("{} \"{name}\" is forbidden: {why}", resource.qualified()),
        )
        .about(resource, name)
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(400, "BadRequest", message)
    }

    /// 410: the revision that was asked for is forgotten.
    pub fn expired(message: impl Into<String>) -> ApiError {
        ApiError::new(410, "Expired", message)
    }

    /// 500 or 503 for what is our own or a node's fault.
    pub fn unavailable(message: impl Into<String>) -> ApiError {
        ApiError::new(503, "ServiceUnavailable", message)
    }

    /// The `Status` object.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        let mut details = serde_json::Map::new();
        if let Some(about) = &self.about {
            details.insert("name".into(), json!(about.name));
            if !about.group.is_empty() {
                details.insert("group".into(), json!(about.group));
            }
            details.insert("kind".into(), json!(about.kind));
        }
        if !self.causes.is_empty() {
            let causes = self
                .causes
                .iter()
                .map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}));
            details.insert("causes".into(), causes.collect());
        }
        if let Some(seconds) = self.retry_after {
            details.insert("retryAfterSeconds".into(), json!(seconds));
        }
        if !details.is_empty() {
            status["details"] = Value::Object(details);
        }
        status
    }
}

impl Cause {
    /// A field that must be there.
    pub fn required(field: impl Into<String>, detail: &str) -> Cause {
        let message = if detail.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {detail}")
        };
        Cause {
            field: field.into(),
            reason: "FieldValueRequired",
            message,
        }
    }

    /// A field with a wrong value.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: impl std::fmt::Display) -> Cause {
        Cause {
            field: field.into(),
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {value}: {detail}"),
        }
    }

    /// A field that may not be changed or set.
    pub fn forbidden(field: impl Into<String>, detail: impl std::fmt::Display) -> Cause {
        Cause {
            field: field.into(),
            reason: "FieldValueForbidden",
            message: format!("Forbidden: {detail}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::Kind;

    #[test]
    fn status_has_what_clients_branch_on() {
        let status = ApiError::not_found(Kind::Deployments.resource(), "web").status();
        assert_eq!(status["code"], 404);
        assert_eq!(status["reason"], "NotFound");
        assert_eq!(status["message"], "deployments.apps \"web\" not found");
        assert_eq!(
            status["details"],
            json!({"name": "web", "group": "apps", "kind": "deployments"})
        );
        let causes = vec![Cause::required("spec.containers", "")];
        let status = ApiError::invalid(Kind::Pods.resource(), "p", causes).status();
        assert_eq!(
            status["message"],
            "Pod \"p\" is invalid: spec.containers: Required value"
        );
        assert_eq!(status["details"]["causes"][0]["reason"], "FieldValueRequired");
    }
}
