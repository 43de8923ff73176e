//! Images: those of the pods' containers, as if they had been pulled.

use crate::{
    protocol::{Reply, Request},
    provider::{Mock, surprise},
};
use outrigger_plugin::{Call, Image, Images, Result};

impl Images for Mock {
    async fn images(&self, _call: Call, node: String) -> Result<Vec<Image>> {
        match self.backend.ask(Request::Images { node }).await? {
            Reply::Images(images) => Ok(images),
            other => Err(surprise(&other)),
        }
    }
}
