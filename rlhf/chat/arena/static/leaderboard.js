import { enableTheme } from "/static/settings.js";

enableTheme();
document.body.dataset.ready = "";
