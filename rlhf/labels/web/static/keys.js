// The keyboard shortcuts, as the help dialog lists them: [keys, description].
export const KEYS = [
  ["1 … 9", "give the selected response this rank; the same rank twice is a tie"],
  ["1 … 8", "two responses: from A much better (1) to B much better (8)"],
  ["0  =  b", "two responses: equally good (0 or =); both bad (b)"],
  ["← → j k", "select another response"],
  ["Backspace", "remove the rank of the selected response"],
  ["Enter", "submit"],
  ["u", "undo the last item"],
  ["s", "skip, with a reason"],
  ["f  o", "flags of the selected response; its overall rating (arrow keys)"],
  ["g  ?", "guideline; these keys"],
  ["q", "ask the researcher; read the answers"],
  ["c  w", "comment; write a better response"],
  ["r  v", "raw or formatted text; columns or rows"],
];
export const PROMPT_KEY = ["a", "send a prompt of your own to the models"];
