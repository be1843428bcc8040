//! The browser's eyes: a good page has no flaw, and each flaw is seen.

use anyhow::Result;
use stanch_testkit::browser::{Browser, Look};

/// A page as an address, so that no server is needed.
fn address(head: &str, body: &str) -> String {
    let text = format!("<!doctype html><html lang=en><title>t</title>{head}<main><h1>Head</h1>{body}</main>");
    let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
    format!("data:text/html;charset=utf-8,{encoded}")
}

#[test]
fn a_good_page_has_no_flaw_and_each_flaw_is_seen() -> Result<()> {
    let browser = Browser::start()?;
    browser.look(Look::NARROW)?;
    let flaws = |head: &str, body: &str| -> Result<String> {
        browser.open(&address(head, body))?;
        Ok(browser.flaws()?.join("\n"))
    };
    let good = "<a href='#x'>link</a> <label>Name <input></label> <button>Go</button> <p hidden><button></button></p>";
    assert_eq!(flaws("<meta name=viewport content='width=device-width'>", good)?, "");

    assert!(flaws("", "<button></button>")?.contains("a control without a name"));
    assert!(flaws("", "<h1>Two</h1>")?.contains("2 first headings"));
    assert!(flaws("", "<p id=a><p id=a>")?.contains("2 elements are #a"));
    let wide = flaws("<meta name=viewport content='width=device-width'>", "<div style='width:900px'>wide</div>")?;
    assert!(wide.contains("scrolls sideways: 900") || wide.contains("too wide"), "{wide}");
    let cut = "<div style='overflow-x:auto;width:300px'><table style='width:900px'><td>near<td>far</table></div>";
    assert!(flaws("<meta name=viewport content='width=device-width'>", cut)?.contains("cut off: a table shows 300"));
    assert!(flaws("", "<p style='color:#999;background:#fff'>pale</p>")?.contains("too pale (2.8)"));
    assert!(flaws("", "<script>console.error('oh')</script>")?.contains("oh"));
    let forbidden = "<meta http-equiv=Content-Security-Policy content=\"script-src 'none'\">";
    assert!(flaws(forbidden, "<script>1</script>")?.contains("Content Security Policy"));
    Ok(())
}

#[test]
fn what_the_keyboard_does_not_reach_is_named() -> Result<()> {
    let browser = Browser::start()?;
    browser.open(&address(
        "",
        "<a href='#x'>one</a><button>two</button><details><summary>three</summary><button>in</button></details>",
    ))?;
    assert_eq!(browser.walk()?, (3, Vec::new()));

    browser.open(&address("<style>:focus{outline:none}</style>", "<a href='#x'>one</a>"))?;
    assert_eq!(browser.walk()?, (1, vec!["focus is not shown: a \"one\"".to_owned()]));

    let trap = "<a href='#x' id=a>one</a><button>two</button>\
                <script>a.onkeydown = (e) => { if (e.key === 'Tab') e.preventDefault(); };</script>";
    browser.open(&address("", trap))?;
    assert_eq!(browser.walk()?, (2, vec!["not reached: button \"two\"".to_owned()]));
    Ok(())
}

#[test]
fn a_page_is_seen_as_the_person_prefers_it() -> Result<()> {
    let browser = Browser::start()?;
    let dark = "return [matchMedia('(prefers-color-scheme: dark)').matches, innerWidth];";
    let page = address("<meta name=viewport content='width=device-width'>", "");
    for (look, expected) in [(Look::LIGHT, "[false,1280]"), (Look::DARK, "[true,1280]"), (Look::NARROW, "[false,390]")]
    {
        browser.look(look)?;
        browser.open(&page)?;
        assert_eq!(browser.script(dark)?.to_string(), expected, "{}", look.name());
    }
    let folder = tempfile::tempdir()?;
    let picture = folder.path().join("page.png");
    browser.photograph(&picture)?;
    assert!(std::fs::read(picture)?.starts_with(b"\x89PNG"));
    Ok(())
}
