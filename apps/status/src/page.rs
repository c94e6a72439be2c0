//! The page: the board on one side, requests on the other.

use alloc::rc::Rc;
use alloc::string::ToString;
use core::cell::RefCell;

use weir_board::Asker;
use weir_board::request::REQUEST_AT;
use weir_http::{Request, Response};
use weir_http_serve as http;
use weir_rt::{Mapping, clock};
use weir_service::sockets::Capture;
use weir_status_logic::{Action, Histogram, Site};

/// What is served.
pub(crate) struct Page {
    site: Site,
    board: Mapping,
    button: Option<RefCell<Button>>,
    /// How long its own requests took.
    durations: RefCell<Histogram>,
    /// The last frames.
    capture: Rc<RefCell<Capture>>,
}

/// What asks the supervisor.
struct Button {
    word: Mapping,
    asker: Asker,
}

impl Page {
    pub(crate) fn new(board: Mapping, request: Option<Mapping>, capture: Rc<RefCell<Capture>>) -> Page {
        let button = request.map(|word| RefCell::new(Button { word, asker: Asker::default() }));
        Page { site: Site::new(button.is_some()), board, button, durations: RefCell::default(), capture }
    }
}

impl http::Site for Page {
    fn respond(&self, request: &Request<'_>) -> Response<'static> {
        let read = |offset, buffer: &mut [u8]| self.board.read(offset, buffer);
        let snapshot = || weir_board::read(read).map_err(|error| error.to_string());
        let (response, action) = self.site.respond(
            request,
            snapshot,
            || self.capture.borrow().to_pcap(),
            &self.durations.borrow(),
        );
        if action == Action::Ask
            && let Some(button) = &self.button
        {
            let Button { word, asker } = &mut *button.borrow_mut();
            // The word has a page.
            let _ = word.write(REQUEST_AT, &[asker.ask()]);
        }
        response
    }

    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    fn count(&self, duration_ns: u64) {
        self.durations.borrow_mut().add(duration_ns);
    }
}
