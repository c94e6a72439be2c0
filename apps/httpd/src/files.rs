//! The files, by name.

use alloc::collections::BTreeMap;

use weir_abi::bundle;
use weir_abi::info::name_text;
use weir_http::{Etag, Method, Request, Response, Status, content, path};
use weir_http_serve::Site;
use weir_rt::clock;

/// A file.
#[derive(Clone)]
struct File {
    contents: &'static [u8],
    etag: Etag,
}

/// All files.
#[derive(Clone)]
pub(crate) struct Files(BTreeMap<&'static str, File>);

impl Files {
    /// Those of a bundle; `None` where it is none.
    pub(crate) fn of(bundle: &'static [u8]) -> Option<Files> {
        let names = bundle::entries(bundle)?.iter().map(|entry| name_text(&entry.name));
        let file = |name| {
            let contents = bundle::find(bundle, name)?;
            Some((name, File { contents, etag: Etag::of(contents) }))
        };
        names.map(file).collect::<Option<_>>().map(Files)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

impl Site for Files {
    fn respond(&self, request: &Request<'_>) -> Response<'static> {
        if !matches!(request.method, Method::Get | Method::Head) {
            return Response::not_allowed("Allow: GET, HEAD\r\n");
        }
        let name = path::file_name(request.path);
        match name.as_deref().and_then(|name| self.0.get_key_value(name)) {
            Some((name, file)) => {
                Response::of_version(request, content::type_of(name), file.etag, file.contents)
            }
            None => Response::text(Status::NotFound, "there is no such file"),
        }
    }

    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    fn count(&self, _: u64) {}
}
