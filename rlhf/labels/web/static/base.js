// Where this project's pages are: "" or /p/NAME. Projects of one server share the browser's storage.
export const base = document.querySelector("meta[name=base]").content;
export const ofProject = (name) => name + base;
